"use strict";
// On a page of many rules: the chosen one, or that under the pointer, stands out in every figure and table.
(() => {
  const select = document.getElementById("choose");
  if (!select) return;
  const labels = new Set([...select.options].map((option) => option.value).filter(Boolean));
  const name = (part) => part && part.textContent.trim();
  for (const row of document.querySelectorAll("tbody tr")) {
    const label = name(row.querySelector("th") && row.querySelector("th").firstChild);
    if (labels.has(label)) row.dataset.rule = label;
  }
  for (const tile of document.querySelectorAll(".tile")) tile.dataset.rule = name(tile.querySelector("span"));
  const marked = [...document.querySelectorAll("[data-rule]")];
  const show = (label) => {
    document.body.classList.toggle("choosing", labels.has(label));
    for (const one of marked) one.classList.toggle("chosen", one.dataset.rule === label);
    for (const button of document.querySelectorAll(".legend button")) button.setAttribute("aria-pressed", String(name(button) === select.value));
  };
  const choose = (label) => {
    select.value = label === select.value ? "" : label;
    show(select.value);
  };
  for (const item of document.querySelectorAll(".legend li[data-rule]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...item.childNodes);
    item.append(button);
    button.addEventListener("click", () => choose(item.dataset.rule));
    button.addEventListener("focus", () => show(item.dataset.rule));
    button.addEventListener("blur", () => show(select.value));
  }
  for (const part of document.querySelectorAll("svg [data-rule]")) {
    const title = document.createElementNS(part.namespaceURI, "title");
    title.textContent = part.dataset.rule;
    part.prepend(title);
  }
  document.addEventListener("pointerover", ({ target }) => {
    const over = target.closest("svg [data-rule], .legend [data-rule]");
    show(over ? over.dataset.rule : select.value);
  });
  select.addEventListener("change", () => show(select.value));
  select.closest("p").hidden = false;
  show("");
})();
