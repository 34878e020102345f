"""The results page: equal bytes, nothing from a network, hostile text as text, and every kind of study."""

import base64
import hashlib
import io
import json
import re
import shutil
import tomllib
from fnmatch import fnmatch
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from nonnormal.files import sha256_of, track_input, tracking, write_json, write_tensors, write_text
from nonnormal.metrics.intervals import Estimate
from nonnormal.study.config import validate
from nonnormal.study.registry import figures_of, tables_of
from nonnormal.study.report.page import TEMPLATES, needed, templates
from nonnormal.study.report.page.curves import curve
from nonnormal.study.report.page.document import render
from nonnormal.study.report.page.glossary import TERMS, identifier, marked, meaning
from nonnormal.study.report.page.lineage import lineage
from nonnormal.study.report.page.numbers import laid_out, packed
from nonnormal.study.report.page.pictures import embedded, grid
from nonnormal.study.results import records
from nonnormal.study.results.paths import BORROWED, Layout
from nonnormal.study.results.records import Recorder
from nonnormal.study.results.rows import frame, row
from nonnormal.study.results.summary import read_rows, tidy, write_rows
from nonnormal.study.results.trainings import over_trainings

ROOT = Path(__file__).parents[2]
HOSTILE = "</script><img src=x onerror=alert(1)>{{ 7 * 7 }}"
RAW = {
    "name": "s",
    "title": HOSTILE,
    "data": "digits",
    "seed": 3,
    "sampling": {"nfe": [2, 5]},
    "runs": {"nn": None, "ll": {"q": "laplace", "p": "laplace"}},
}
PRETRAINED = {
    "name": "s",
    "data": "digits",
    "pretrained": {"path": "n", "step_families": ["normal", "laplace"], "nfe": [2]},
}
MADE = {"revision": "0123456789abcdef", "uncommitted_changes": True, "python": "3", "packages": {"torch": "2"}}
LOG = pd.DataFrame(
    {"step": [20, 40, 60], "loss_nats_per_dim": [9.0, 3, 1], "gradient_norm": [5.0, 2, 1], "learning_rate": [0.1] * 3}
)


class Elements(HTMLParser):
    """Elements of a page with their attributes, and the text of each script."""

    def __init__(self, page):
        super().__init__()
        self.found, self.scripts, self.inside = [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        self.inside = tag == "script"
        self.scripts += [""] * self.inside

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.scripts[-1] += data

    def values(self, *names):
        return [value for _, attributes in self.found for name, value in attributes.items() if name in names]


def made(raw, folder):
    """A study whose few results are made up."""
    study = validate(raw, "s.yaml")
    layout, noise = Layout(study.name, study.data_name, study.headline), torch.Generator().manual_seed(0)

    def images(n):
        return torch.randint(0, 17, (n, 1, 8, 8), generator=noise, dtype=torch.uint8)

    rows = [row(study, None, HOSTILE, Estimate(0.5, 0.25, 0.75, 8), "x", None, {"note": HOSTILE})]
    for run in study.trainings():
        write_rows(layout.log(run), LOG)
        write_tensors(layout.weights(run), {"w": images(1)})
        for n_steps in study.sample_steps:
            write_tensors(layout.samples(run, n_steps), {"images": images(20)})
        rows.append(row(study, run, "fid_digits", Estimate(1.23456789, 1, 2, 20), "distance", 5, {"step": "normal"}))
    if study.pretrained:
        write_tensors(layout.arrays("pretrained"), {f"2/{step}": images(4) for step in study.pretrained.step_families})
        rows.append(row(study, None, "pretrained_fid_digits", Estimate(3, 2, 4, 9), "distance", 2, {"step": "laplace"}))
    write_rows(layout.summary, frame(rows))
    write_rows(layout.means, over_trainings(frame(rows)))
    write_json(layout.provenance, MADE | {"hardware": "a machine"})
    figure = layout.figure("samples", "png")
    figure.parent.mkdir(parents=True)
    Image.new("RGBA", (40, 20), (200, 10, 10, 255)).save(figure)
    return study, layout


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return made(RAW, tmp_path)


def page_of(study, layout):
    name = "pairs" if study.runs else "pretrained"
    readable = {name: (pd.DataFrame({"verdict": [f"fails, because {HOSTILE}"]}, index=pd.Index([HOSTILE])),)}
    return render(study, layout, {}, readable)


def test_equal_inputs_give_equal_bytes(project):
    """No date, no random name."""
    page = page_of(*project)
    assert page == page_of(*project)
    own = page.replace(Elements(page).scripts[2], "")  # DataTables dates itself
    assert len(own) < len(page) / 2
    assert not re.search(r"\b20[2-9]\d-[01]\d-[0-3]\d", own)


def test_nothing_comes_from_a_network(project):
    elements = Elements(page_of(*project))
    assert {uri.partition(":")[0] for uri in elements.values("src", "srcset", "data")} == {"data"}
    assert [a for tag, a in elements.found if tag == "link" and not a["href"].startswith("data:")] == []
    assert {value[:1] for value in elements.values("xlink:href")} <= {"#"}
    own = "".join(Path(path).read_text() for path in templates())
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\([\"']", own)


def test_only_the_scripts_of_the_page_may_run(project):
    page = page_of(*project)
    elements = Elements(page)
    [policy] = [a["content"] for tag, a in elements.found if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy.replace("style-src 'unsafe-inline'", "")
    kinds = [a.get("type") for tag, a in elements.found if tag == "script"]
    assert kinds == [None, "application/json", "application/json", "module"]
    for text in (elements.scripts[0], elements.scripts[3]):
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy


def test_hostile_text_stays_text(project):
    page = page_of(*project)
    elements = Elements(page)
    assert not [a for tag, a in elements.found if tag == "img" and not a["src"].startswith("data:image/png;base64,")]
    assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]
    numbers = json.loads(elements.scripts[1])
    assert numbers["metrics"][0] == HOSTILE
    assert numbers["conditions"][0] == f"note {HOSTILE}"
    assert "&lt;img src=x" in page
    assert "49" not in re.findall(r"<title>(.*)</title>", page)[0]


def test_the_page_tells_what_the_study_is(project):
    page = page_of(*project)
    for said in (
        "0123456789abcdef</code> with uncommitted changes",
        "a machine",
        "laplace/laplace",
        "1 × 8 × 8",
        "native, elbo",
    ):
        assert said in page
    for run in project[0].runs:
        [panel] = re.findall(rf'<dialog class="sheet" id="run-{run}".*?</dialog>', page, flags=re.DOTALL)
        assert panel.count("data:image/png") == len(project[0].sample_steps)
        assert "<svg" in panel
        assert "batch_size: 64" in panel
        assert f"results/s/{run}/weights.safetensors" in panel


def test_a_run_has_one_entry_with_the_files_of_all_its_trainings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study, layout = made(RAW | {"replicates": 3}, tmp_path)
    page = page_of(study, layout)
    assert page.count('<dialog class="sheet"') == len(study.runs)
    assert "95 %, over trainings of nn, ll, else over images" in page
    for run in study.runs:
        [panel] = re.findall(rf'<dialog class="sheet" id="run-{run}".*?</dialog>', page, flags=re.DOTALL)
        assert panel.count("data:image/png") == len(study.sample_steps)
        assert "those of the first of 3 trainings" in panel
        for name in study.trainings([run]):
            assert f"results/s/{name}/weights.safetensors" in panel
    numbers = json.loads(Elements(page).scripts[1])
    assert len(numbers["rows"]) == 1 + len(study.runs)
    assert "step normal, trainings 3" in numbers["conditions"]


def test_all_rows_of_the_summary_are_there_with_six_digits(project):
    rows = read_rows(project[1].summary)
    found, places = packed(rows, {"data": "digits", "seed": 3})
    assert len(found["rows"]) == len(rows)
    assert places == [*range(len(rows))]
    for told, line in zip(found["rows"], rows.to_dict("records"), strict=True):
        metric, run, *values, unit, n, nfe, conditions = told
        assert found["metrics"][metric] == line["metric"]
        assert (None if run is None else found["runs"][run]) == (None if pd.isna(line["run"]) else line["run"])
        assert values == pytest.approx([line["value"], line["low"], line["high"]], rel=1e-5)
        assert (found["units"][unit], n) == (line["unit"], line["n"])
        assert nfe == (None if pd.isna(line["nfe"]) else line["nfe"])
        assert "digits" not in found["conditions"][conditions]
    assert found["rows"][1][2] == 1.23457


def test_digests_are_told_by_their_first_digits():
    line = {"metric": "m", "value": 1.0, "low": 1.0, "high": 1.0, "unit": "x", "data": "other", "T": 2, "sigma": 0.5}
    found, _ = packed(tidy(pd.DataFrame([line | {"weights_sha256": "0123456789ab" + "f" * 52}])), {"data": "digits"})
    assert found["conditions"] == ["T 2, data other, sigma 0.5, weights_sha256 0123456789ab…"]


def test_equal_numbers_of_a_run_are_one_row_with_the_conditions_of_both():
    line = {"metric": "bpd_total", "run": "nn", "value": 2.0, "low": 1.0, "high": 3.0, "unit": "x", "T": 10}
    rows = tidy(pd.DataFrame([line | {"bound": "native"}, line | {"T": 20, "value": 2.5}, line | {"bound": "normal"}]))
    found, places = packed(rows, {})
    assert [row[2] for row in found["rows"]] == [2.0, 2.5]
    assert found["conditions"] == ["T 10, bound native or normal", "T 20"]
    assert places == [0, 1, 0]


def test_rows_without_a_run_tell_their_steps_and_stay_apart():
    line = {"metric": "ks_walk", "value": 0.5, "low": 0.4, "high": 0.6, "unit": "distance"}
    found, places = packed(tidy(pd.DataFrame([line | {"q": step, "p": step} for step in ("laplace", "uniform")])), {})
    assert found["conditions"] == ["q laplace, p laplace", "q uniform, p uniform"]
    assert places == [0, 1]


CLAIM = {
    **{"kind": "empirical", "id": "fid-competitive", "source": HOSTILE, "where": "x", "statement": HOSTILE},
    **{
        "unit": "training",
        "null_case": HOSTILE,
        "measurement": "m",
        "threshold": "< 1.23",
        "study": "s",
        "data": "digits",
    },
    **{"n": 2, "trainings": 3, "value": 1.5, "value_low": 1.4, "value_high": 1.6, "value_unit": "ratio"},
    **{"verdict": "fails", "needs": None, "reason": None},
}


@pytest.fixture
def judged(project):
    """The page of a study with three claims, of which one is empirical and was decided."""
    stated = {"id": "fid-competitive", "source": "li2024", "kind": "empirical", "unit": "training", "where": "x"}
    stated |= {"statement": "x", "null_case": {"statement": "x", "value": 2.0}}
    stated |= {"test": {"rows": "metric == '{fid}'", "reduce": "max", "below": 1.23}}
    write_json(Path("paper/claims.yaml"), {"claims": [stated]})  # JSON is YAML
    others = [{"kind": "theorem", "id": "moments", "verdict": "by test", "measurement": "tests/a.py::test_b"}]
    others += [{"id": "free-loss", "verdict": "undecided", "needs": "2 trainings or more", "trainings": 1}]
    table = pd.DataFrame(
        [CLAIM, *(CLAIM | dict.fromkeys(("value", "value_low", "value_high")) | its for its in others)]
    )
    return render(*project, {"claims": table}, {"claims": (pd.DataFrame(),)})


def test_findings_stand_first_and_claims_have_a_section_with_their_rows(judged):
    assert re.search(r'class="findings">\s*<li><span class="verdict" data-verdict="fails">', judged)
    assert judged.count("<li><span") == 1
    assert "1.5 (1.4 to 1.6), a ratio, 3 trainings" in judged
    counts = re.findall(r'class="count" data-verdict="([a-z ]+)" aria-pressed="false"><b>(\d+)', judged)
    assert counts == [("fails", "1"), ("undecided", "1")] * 2
    [section] = re.findall(r'<section id="claims">.*?</section>', judged, flags=re.DOTALL)
    assert re.findall(r'<tr data-verdict="([a-z ]*)"', section) == ["fails", "undecided", ""]
    assert 'id="tab-claims"' not in judged
    elements = Elements(judged)
    assert not [a for tag, a in elements.found if tag == "img" and not a["src"].startswith("data:image/png;base64,")]
    views = json.loads(elements.scripts[1])["views"]
    [view] = re.findall(r'data-view="([^"]*)"', section)
    assert view == "claim fid-competitive"
    assert views[view] == [1, 2]


def test_two_runs_stand_side_by_side_with_their_differences(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study, layout = made(RAW | {"replicates": 2}, tmp_path)
    values = {"nn": (1.0, 2.0), "ll": (4.0, 5.5)}
    rows = [
        row(study, name, "fid_digits", Estimate(value, value, value, 9), "distance", 5, {"step": study.run(run).p})
        for run, its in values.items()
        for name, value in zip(study.trainings([run]), its, strict=True)
    ]
    write_rows(layout.summary, frame(rows))
    compared = json.loads(Elements(page_of(study, layout)).scripts[1])["compared"]
    [[metric, first, second, difference, low, high, unit, calls, conditions]] = compared["ll|nn"]
    assert (metric, first, second, difference, unit, calls) == ("fid_digits", 4.75, 1.5, 3.25, "distance", 5)
    assert low < difference < high
    assert conditions == "trainings 2"


def test_downloads_are_in_the_page(project):
    study, layout = project
    pdf = layout.figure("samples", "pdf")
    pdf.write_bytes(b"%PDF-1.7")
    links = {a["download"]: a["href"] for tag, a in Elements(page_of(study, layout)).found if "download" in a}
    assert set(links) == {"s-samples.png", "s-samples.pdf", "s.bib"}
    assert base64.b64decode(links["s-samples.pdf"].partition("base64,")[2]) == pdf.read_bytes()
    assert "%40software%7Bnonnormal" in links["s.bib"]


def test_terms_are_explained_once_a_text():
    said = marked(f"The NFE, {HOSTILE} and the nfe of a native bound.")
    assert said.count('class="term"') == 2
    assert "<img" not in said
    for found in re.findall(r'href="#([^"]+)"', said):
        assert found in {identifier(term) for term in TERMS}
    assert meaning("fid_digits").startswith("FID: ")
    assert meaning("verdict") == ""


@pytest.mark.parametrize("gone", range(8))
def test_a_missing_file_is_named_before_anything_is_written(project, gone):
    study, layout = project
    path = list(needed(study, layout))[gone]
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"{re.escape(str(path))} missing; make the study s first"):
        page_of(study, layout)


def test_the_command_writes_the_page_and_its_record(project, capsys):
    from nonnormal.study.cli import app

    study, layout = project
    write_json(Path("s.json"), study.resolved)
    app(["page", "s.json"], standalone_mode=False)
    assert capsys.readouterr().out.strip() == str(layout.page) == "results/s/results.html"
    assert layout.page.read_text(encoding="utf-8") == render(study, layout, {}, {})
    [record] = Path("results/s/records/results.html").glob("*.json")
    inputs = json.loads(record.read_text())["inputs"]
    assert set(inputs) >= {str(path) for path in needed(study, layout)} | {str(layout.figure("samples", "png"))}
    assert Layout("s", "digits", headline=True).page == Path("paper/results.html")


def test_what_is_left_of_a_section_that_was_removed_is_not_shown(project):
    """Neither its figures and tables nor its rows."""
    from nonnormal.study.cli import app

    study, layout = project
    write_json(Path("s.json"), study.resolved)
    app(["page", "s.json"], standalone_mode=False)
    before = layout.page.read_text(encoding="utf-8")
    shutil.copy(layout.figure("samples", "png"), layout.figure("step_swap", "png"))
    write_rows(layout.table("solvers", "csv"), pd.DataFrame({"solver": ["heun"]}))
    for run in study.runs:
        write_rows(layout.rows("step_swap", run), LOG)
    app(["page", "s.json"], standalone_mode=False)
    assert layout.page.read_text(encoding="utf-8") == before


def test_the_record_of_the_paper_has_all_that_it_is_made_of(tmp_path, monkeypatch):
    from nonnormal.study.cli import app

    monkeypatch.chdir(tmp_path)
    study, layout = made(RAW | {"headline": True}, tmp_path)
    write_json(Path("s.json"), study.resolved)
    source, section = Path("paper/paper.typ"), Path("paper/sections/claims.typ")
    other = Path("paper/references/published.csv")
    removed = layout.figure("step_swap", "png")
    shown = [*layout.figures(figures_of(study)), *layout.tables(tables_of(study))]
    kept = [folder / name for folder, files in BORROWED.values() for name in files]
    for path in (source, section, other, removed, *shown, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("words")
    app(["paper", "s.json"], standalone_mode=False)
    [record] = Path("paper/records/paper.pdf").glob("*.json")
    inputs = set(json.loads(record.read_text())["inputs"])
    assert inputs == {*map(str, (source, section, other, layout.study, layout.means, layout.provenance, *shown, *kept))}
    assert Layout("s", "digits").borrowed == []


@pytest.mark.parametrize(("variable", "name"), [("photographs", "photographs"), ("several-networks", "networks")])
def test_the_paper_takes_from_kept_studies_what_is_said(variable, name):
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "paper/sections").glob("*.typ"))
    assert set(re.findall(rf'\b{variable} \+ "/([^"]+)"', text)) == set(BORROWED[name][1])


def test_a_table_of_another_version_is_named(project):
    from nonnormal.study.cli import app

    study, layout = project
    write_json(Path("s.json"), study.resolved)
    write_rows(layout.table("pairs", "csv"), pd.DataFrame({"run": ["nn", "ll"]}))
    with pytest.raises(ValueError, match=r"results/s/paper/tables/pairs\.csv: has no column 'normal_bpd'.* made again"):
        app(["page", "s.json"], standalone_mode=False)
    assert not layout.page.exists()


def test_a_study_of_a_network_that_existed_already(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = page_of(*made(PRETRAINED, tmp_path))
    [panel] = re.findall(r'<dialog class="sheet" id="run-pretrained".*?</dialog>', page, flags=re.DOTALL)
    assert panel.count("data:image/png") == 2
    assert "laplace, 2 calls" in panel
    assert "<svg" not in panel


def test_templates_are_part_of_the_package():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["nonnormal"]
    assert all(Path(path).is_file() for path in templates())
    assert all(any(fnmatch(f"study/report/page/{name}", pattern) for pattern in settings) for name in TEMPLATES)
    beside = {path.name for path in Path(templates()[0]).parent.iterdir() if path.is_file() and path.suffix != ".py"}
    assert beside == set(TEMPLATES)


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_columns_of_one_title_are_two_columns():
    table = laid_out(pd.DataFrame([["1", "b", "2"], ["3", "d", "4"]], columns=["Δ", "x", "Δ"]))
    assert table.head == ["", "Δ", "x", "Δ"]
    assert [[text for text, _ in line] for line in table.body] == [["0", "1", "b", "2"], ["1", "3", "d", "4"]]
    assert table.kinds == ["number", "number", "", "number"]


def test_a_column_sorts_by_the_numbers_that_its_texts_begin_with():
    columns = {
        "value": ["1.98 ± 0.03", "–", "−0.5 (−1 to 0) bits", "2e-3"],
        "text": ["1/2", "2", "3", "4"],
        "words": ["2 of 3", "many", "–", "1"],
        "nothing": ["–"] * 4,
    }
    table = laid_out(pd.DataFrame(columns, index=pd.Index(["x" * 41, "b", "c", "d"], name="n")))
    assert table.head == ["n", *columns]
    assert table.kinds == ["prose", "number", "", "", ""]
    assert [line[1] for line in table.body] == [
        ("1.98 ± 0.03", 1.98),
        ("–", None),
        (columns["value"][2], -0.5),
        ("2e-3", 2e-3),
    ]
    assert {line[i][1] for line in table.body for i in (0, 2, 3, 4)} == {None}


def test_an_empty_table_is_a_head():
    assert laid_out(pd.DataFrame({"a": []}, index=pd.Index([], name="n"))).body == []


# ---- pictures --------------------------------------------------------------------------------------------------------


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.mark.parametrize("n", [3, 16, 20, 40])
def test_a_grid_holds_the_images_in_their_order(n):
    """Grey ones dark on light."""
    images = np.arange(n * 64).reshape(n, 1, 8, 8) % 17
    drawn = pixels(grid(images.astype(np.uint8), 17))[::4, ::4]
    rows, columns = -(-min(n, 32) // 16), min(n, 16)
    assert drawn.shape == (9 * rows - 1, 9 * columns - 1, 2)
    for i in range(min(n, 32)):
        y, x = 9 * (i // 16), 9 * (i % 16)
        tile = drawn[y : y + 8, x : x + 8]
        assert (tile[..., 0] == np.rint(255 - images[i, 0] * 255 / 16)).all()
        assert (tile[..., 1] == 255).all()
    assert (drawn[8::9, :, 1] == 0).all()
    assert (drawn[:, 8::9, 1] == 0).all()


def test_colours_of_a_grid_are_those_of_the_images():
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32)).astype(np.uint8)
    drawn = pixels(grid(images, 256))
    assert drawn.shape == (32, 65, 4)
    assert (drawn[:, :32, :3] == images[0].transpose(1, 2, 0)).all()
    assert (drawn[:, 33:, :3] == images[1].transpose(1, 2, 0)).all()


def encoded(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def test_a_drawing_gets_smaller_and_a_photograph_stays_as_it_is():
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    for content in (noise, noise // 32 * 32, noise // 128 * 128):
        picture = embedded(encoded(content))
        kept = Image.open(io.BytesIO(base64.b64decode(picture.uri.partition("base64,")[2])))
        assert (picture.width, picture.height) == kept.size == (256, 256)
        assert kept.mode == ("RGB" if content is noise else "P")
        error = np.abs(np.asarray(kept.convert("RGB")).astype(int) - content).max()
        few = len(np.unique(content.reshape(-1, 3), axis=0)) <= 256
        assert error < (1 if content is noise or few else 96)


# ---- curves ----------------------------------------------------------------------------------------------------------


def test_curves_are_the_same_again_and_share_no_name():
    first, again, other = (
        curve("a", "laplace", "laplace", LOG),
        curve("a", "laplace", "laplace", LOG),
        curve("b", "laplace", "laplace", LOG),
    )
    assert first == again
    names = [set(re.findall(r'id="([^"]*)"', text)) for text in (first, other)]
    assert names[0]
    assert not names[0] & names[1]
    assert all(f"#{name}" in first for name in names[0]), "ids are there to be referred to"


def test_curves_have_the_colours_of_the_page():
    text = curve("a", "normal", "normal", LOG)
    assert "currentColor" in text
    assert not re.search(r"#(000000|262626|ffffff|ebebeb)", text)
    assert text.startswith("<svg aria-hidden")
    assert "optimiser step</text>" in text


# ---- lineage ---------------------------------------------------------------------------------------------------------


def make(path, content, *inputs, command):
    with tracking(Recorder(command.split())):
        for each in inputs:
            track_input(each)
        write_text(path, content)


def test_lineage_is_in_the_order_of_making_and_knows_no_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data, weights, rows, checkpoint = (Path(f"results/s/{name}") for name in ("d", "w", "b.csv", "c"))
    make(data, "1", command="nonnormal data digits --source {}")
    make(checkpoint, "2", data, command="nonnormal train s.yaml --run r")
    make(weights, "3", data, checkpoint, command="nonnormal train s.yaml --run r")
    make(rows, "4", data, weights, command="/bin/nonnormal evaluate bounds results/s/study.json --run r")
    found = lineage([rows, weights], {}, without=[checkpoint])
    assert [entry["path"] for entry in found] == [str(path) for path in (data, weights, rows)]
    assert [entry["command"] for entry in found] == ["data digits", "train", "evaluate bounds"]
    assert [entry["inputs"] for entry in found] == [[], [str(data)], [str(data), str(weights)]]
    assert {entry["state"] for entry in found} == {"as made"}
    assert not re.search(r"20[2-9]\d-", json.dumps(found))
    make(weights, "3", data, command="nonnormal train other.yaml --run r")  # without an interruption
    assert lineage([rows, weights], {}, without=[checkpoint]) == found


def test_lineage_tells_what_has_changed_and_what_has_no_record(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data, rows = Path("results/s/d"), Path("results/s/b.csv")
    make(data, "1", command="nonnormal data digits")
    make(rows, "2", data, command="nonnormal evaluate bounds s.yaml")
    data.write_text("other")
    assert [entry["state"] for entry in lineage([rows], {})] == ["changed since", "as made"]
    [place] = Path("results/s/records/b.csv").glob("*.json")
    kept = place.read_text()
    place.write_text(kept.replace("bounds", "design"))
    with pytest.raises(ValueError, match=f"{place} is damaged, or was edited"):
        lineage([rows], {})
    place.write_text(kept)
    write_text("pulled", "3")
    [entry] = lineage([Path("pulled")], {})
    assert (entry["command"], entry["inputs"]) == (None, [])
    assert entry["sha256"] == hashlib.sha256(b"3").hexdigest()


def test_a_file_of_several_lineages_is_read_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data, results, known = Path("data/d"), [Path(f"results/s/{name}") for name in "abc"], {}
    make(data, "1", command="nonnormal data digits")
    for path in results:
        make(path, path.name, data, command="nonnormal evaluate bounds s.yaml")
    hashed = []
    monkeypatch.setattr(records, "sha256_of", lambda path: hashed.append(path) or sha256_of(path))
    for path in results:
        assert [entry["path"] for entry in lineage([path], known)] == [str(data), str(path)]
    assert hashed.count(data) == 1
