// Tables by DataTables, views of them, downloads, tabs, panels of runs, and the button of the colours.
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const root = document.documentElement;

// ---- colours --------------------------------------------------------------------------------------------------------

const button = document.getElementById("theme");
const tell = () => button.setAttribute("aria-pressed", root.classList.contains("dark"));
button.addEventListener("click", window.toggleTheme);
new MutationObserver(tell).observe(root, { attributes: true, attributeFilter: ["class"] });
tell();

// ---- tables ---------------------------------------------------------------------------------------------------------

const code = new Blob([JSON.parse(document.getElementById("datatables").textContent)], { type: "text/javascript" });
const address = URL.createObjectURL(code);
const { default: DataTable } = await import(address);
URL.revokeObjectURL(address);

const words = { search: "Filter", info: "_START_ to _END_ of _TOTAL_", infoEmpty: "none", infoFiltered: "(of _MAX_)",
  zeroRecords: "No row has that.", lengthMenu: "_MENU_ rows" };
const plain = { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null };
const common = { autoWidth: false, order: [], language: words, orderMulti: true };

const tables = new Map(); // DataTables by element
for (const table of all("table[data-kind=static]")) {
  const many = table.tBodies[0].rows.length > 6;
  tables.set(table, new DataTable(table, { ...common, paging: false, layout: { ...plain, topStart: many ? "search" : null } }));
}

const data = JSON.parse(document.getElementById("data").textContent);
const plainly = DataTable.render.text().display; // escapes
const drawn = (draw) => (value, type) => (type === "display" ? draw(value) : value);
const text = drawn((value) => plainly(value).replaceAll("_", "_<wbr>"));
const digits = (value) => {
  if (value === null) return "–";
  const small = value !== 0 && Math.abs(value) < 1e-3;
  return (small ? value.toExponential(3) : String(Number(value.toPrecision(5)))).replaceAll("-", "−");
};
const rows = data.rows.map(([metric, run, value, low, high, unit, n, calls, conditions], place) => ({
  place, metric: data.metrics[metric], run: run === null ? "–" : data.runs[run], value, low, high,
  unit: data.units[unit] ?? "", n, calls, conditions: data.conditions[conditions],
}));
const word = { render: text, columnControl: [["searchList"]] };
const number = { className: "number", type: "num", render: drawn(digits) };
const interval = (low, type, row) => (type === "display" ? `${digits(low)} to ${digits(row.high)}` : low);
const columns = {
  metric: { title: "metric", data: "metric", ...word },
  run: { title: "run", data: "run", ...word },
  value: { title: "value", data: "value", ...number },
  interval: { title: "95 % interval", data: "low", ...number, render: interval },
  unit: { title: "unit", data: "unit", ...word },
  n: { title: "n", data: "n", ...number },
  calls: { title: "NFE", data: "calls", ...number },
  conditions: { title: "conditions", data: "conditions", render: text, className: "conditions" },
  first: { title: "first run", data: "first", ...number },
  second: { title: "second run", data: "second", ...number },
  difference: { title: "difference", data: "value", ...number },
};
const listed = (table, found, names) => {
  const head = table.createTHead().insertRow(); // DataTables would make cells that are no headers
  for (const name of names) {
    const cell = head.appendChild(document.createElement("th"));
    cell.scope = "col";
    cell.textContent = columns[name].title;
  }
  tables.set(table, new DataTable(table, {
    ...common, data: found, columns: names.map((name) => columns[name]), deferRender: true, pageLength: 20,
    lengthMenu: [20, 100, 500, { label: "all", value: -1 }],
    layout: { ...plain, topStart: "search", topEnd: "pageLength", bottomStart: "info", bottomEnd: "paging" },
  }));
};

listed(document.getElementById("all-numbers"), rows, ["metric", "run", "value", "interval", "unit", "n", "calls", "conditions"]);

// ---- views: rows by claim or part of the study, claims by verdict, two runs ----------------------------------------------

const numbers = document.getElementById("all-numbers");
const view = document.getElementById("view");
const choose = () => {
  const places = view.value && new Set(data.views[view.value]);
  tables.get(numbers).search.fixed("view", places ? (_, row) => places.has(row.place) : null).draw();
};
view.addEventListener("change", choose);
for (const each of all("a.rows")) {
  each.addEventListener("click", () => {
    view.value = each.dataset.view;
    choose();
  });
}

const claims = document.getElementById("claim-table");
const counts = all("button.count");
for (const each of counts) {
  each.addEventListener("click", () => {
    const verdict = each.getAttribute("aria-pressed") === "true" ? "" : each.dataset.verdict;
    for (const other of counts) other.setAttribute("aria-pressed", other.dataset.verdict === verdict);
    const table = tables.get(claims);
    const has = (_, row, place) => table.row(place).node().dataset.verdict === verdict;
    table.search.fixed("verdict", verdict ? has : null).draw();
    if (verdict && each.closest(".head")) document.getElementById("claims").scrollIntoView();
  });
}

const pair = document.getElementById("pair");
const compare = () => {
  const found = data.compared[pair.value].map(([metric, first, second, value, low, high, unit, calls, conditions]) =>
    ({ metric, first, second, value, low, high, unit, calls, conditions }));
  const table = document.getElementById("compared");
  if (tables.has(table)) tables.get(table).clear().rows.add(found).draw();
  else listed(table, found, ["metric", "first", "second", "difference", "interval", "unit", "calls", "conditions"]);
};
if (pair) {
  pair.addEventListener("change", compare);
  compare();
}

// ---- downloads ------------------------------------------------------------------------------------------------------

const quoted = (value) => (/[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
const saved = (name, lines) => {
  const content = lines.map((line) => line.map((value) => quoted(String(value ?? ""))).join(",")).join("\n");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`${content}\n`], { type: "text/csv" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
const said = (cell) => cell.textContent.replace(/\s+/g, " ").trim();
for (const each of all("button.csv")) {
  each.addEventListener("click", () => {
    const table = each.closest(".above").parentElement.querySelector("table");
    const shown = tables.get(table).rows({ search: "applied" });
    if (table.dataset.kind === "static") {
      const lines = shown.nodes().toArray().map((row) => [...row.cells].map(said));
      saved(each.dataset.file, [all("thead th", table).map(said), ...lines]);
    } else {
      const keys = Object.keys(shown.data()[0] ?? {}).filter((key) => key !== "place");
      saved(each.dataset.file, [keys, ...shown.data().toArray().map((row) => keys.map((key) => row[key]))]);
    }
  });
}

// ---- tabs -----------------------------------------------------------------------------------------------------------

const tabs = all("[role=tab]");
const select = (tab) => {
  for (const each of tabs) {
    each.setAttribute("aria-selected", each === tab);
    each.tabIndex = each === tab ? 0 : -1;
    document.getElementById(each.getAttribute("aria-controls")).hidden = each !== tab;
  }
};
tabs.forEach((tab, i) => {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", (event) => {
    const to = { ArrowRight: i + 1, ArrowLeft: i - 1 + tabs.length, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    select(tabs[to % tabs.length]);
    tabs[to % tabs.length].focus();
  });
});

// ---- panels of runs, and figures enlarged ---------------------------------------------------------------------------

const open = (name) => {
  const sheet = document.getElementById(`run-${name}`);
  if (!sheet || sheet.open) return;
  const table = sheet.querySelector(".measured table");
  if (!table.tHead) {
    const of = name === "pretrained" ? (row) => row.metric.startsWith("pretrained_") : (row) => row.run === name;
    listed(table, rows.filter(of), ["metric", "value", "interval", "unit", "n", "calls", "conditions"]);
  }
  sheet.showModal();
  sheet.querySelector(".body").scrollTop = 0;
  history.replaceState(null, "", `#run-${name}`);
};
for (const each of all("button.open")) each.addEventListener("click", () => open(each.dataset.run));

const zoomed = document.getElementById("zoomed");
for (const each of all("button.zoom")) {
  each.addEventListener("click", () => {
    const place = zoomed.querySelector("div");
    place.replaceChildren(each.querySelector("img").cloneNode());
    place.className = each.classList.contains("inverted") ? "inverted" : "";
    zoomed.showModal();
  });
}
for (const dialog of all("dialog")) {
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.closest(".close, .leave")) dialog.close();
  });
  dialog.addEventListener("close", () => {
    if (location.hash === `#${dialog.id}`) history.replaceState(null, "", location.pathname);
  });
}
if (location.hash.startsWith("#run-")) open(location.hash.slice(5));
root.dataset.ready = "true";
