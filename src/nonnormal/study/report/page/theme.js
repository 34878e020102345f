// Colours before anything is drawn: those that were chosen, else the system's. Storage may be refused to a file.
(() => {
  const root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try { chosen = localStorage.getItem("nonnormal-theme"); } catch { /* refused */ }
  const show = () => root.classList.toggle("dark", chosen ? chosen === "dark" : system.matches);
  window.toggleTheme = () => {
    chosen = root.classList.contains("dark") ? "light" : "dark";
    try { localStorage.setItem("nonnormal-theme", chosen); } catch { /* refused */ }
    show();
  };
  system.addEventListener("change", show);
  show();
})();
