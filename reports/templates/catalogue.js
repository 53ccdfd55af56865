// Search of the catalogue: over names, titles, languages, labels, licences and access; the words stand in the address.
"use strict";
(() => {
  const form = document.getElementById("find");
  if (!form) return;
  const rows = [...document.querySelectorAll("tr.first")].map((row) => [row, row.nextElementSibling, `${row.dataset.language} ${row.textContent}`.toLowerCase()]);
  const field = form.elements.q;
  const show = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    for (const [row, more, text] of rows) {
      const keep = words.every((w) => text.includes(w));
      row.hidden = more.hidden = !keep;
      left += keep ? 1 : 0;
    }
    for (const body of document.querySelectorAll("tbody.language")) body.hidden = !body.querySelector("tr.first:not([hidden])");
    document.getElementById("filter-count").textContent = `${left} of ${rows.length} tasks`;
    const said = field.value.trim() ? `#${new URLSearchParams({ q: field.value.trim() })}` : "";
    if (said !== (location.hash.includes("=") ? location.hash : "")) history.replaceState(null, "", said || location.pathname + location.search);
  };
  const restore = () => {
    field.value = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "").get("q") || "";
    show();
  };
  addEventListener("hashchange", () => location.hash.includes("=") && restore());
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(show));
  form.hidden = false;
  restore();
})();
