"use strict";
// A click on a column's title sorts the rows by it, a second click the other way round.
(() => {
  // a number stands at the beginning of a cell, with thin spaces between thousands
  const number = (text) => {
    const found = text.replace(/(\d)[\s\u202f\u00a0](?=\d{3}\b)/g, "$1").replace("−", "-").match(/^[+-]?\d[\d.]*(?:e[+-]?\d+)?/i);
    return found ? Number(found[0]) : NaN;
  };
  const order = (one, other) => {
    const [a, b] = [number(one), number(other)];
    if (Number.isNaN(a) !== Number.isNaN(b)) return Number.isNaN(a) ? 1 : -1;
    return Number.isNaN(a) ? one.localeCompare(other) : a - b;
  };
  for (const table of document.querySelectorAll("table")) {
    const body = table.tBodies[0], titles = table.tHead ? [...table.tHead.rows[0].cells] : [];
    if (!body || body.rows.length < 3) continue;
    titles.forEach((title, column) => {
      if (!title.textContent.trim()) return; // names of rows, or of groups of them
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...title.childNodes);
      title.append(button);
      button.addEventListener("click", () => {
        const down = title.getAttribute("aria-sort") === "ascending";
        for (const other of titles) other.removeAttribute("aria-sort");
        title.setAttribute("aria-sort", down ? "descending" : "ascending");
        const text = (row) => row.cells[column] ? row.cells[column].textContent.trim() : "";
        const rows = [...body.rows].sort((a, b) => order(text(a), text(b)) * (down ? -1 : 1));
        for (const row of rows) row.classList.remove("first");
        body.append(...rows);
      });
    });
  }
})();
