"use strict";
// Offers every figure as SVG and its numbers as CSV, and every table as CSV; nothing leaves the page.
(() => {
  const SVG = document.createRange().createContextualFragment("<svg></svg>").firstChild.namespaceURI;
  const WIDE = 1040; // pixels of a figure in a file, whatever the window has
  const PIXELS = 100 / 72; // of a single drawing, for a unit of it

  const save = (name, type, text) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  };

  // --- a figure as one SVG: what its boxes, pictures and words look like where they stand ---

  const element = (parent, name, attributes) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    parent.append(made);
    return made;
  };
  const rounded = (value) => Math.round(100 * value) / 100;

  class Drawing {
    constructor(figure) {
      this.from = figure.getBoundingClientRect();
      this.right = this.bottom = 0;
      this.root = document.createElementNS(SVG, "svg");
      this.root.setAttribute("font-family", "system-ui, 'Segoe UI', Roboto, Arial, sans-serif");
      this.paper = element(this.root, "rect", { fill: "var(--paper)" });
      this.of(figure);
      const width = Math.ceil(this.right) + 8, height = Math.ceil(this.bottom) + 8;
      for (const one of [this.root, this.paper]) {
        one.setAttribute("width", width);
        one.setAttribute("height", height);
      }
      this.root.setAttribute("viewBox", `0 0 ${width} ${height}`);
    }
    place(box) {
      const x = rounded(box.left - this.from.left), y = rounded(box.top - this.from.top);
      this.right = Math.max(this.right, x + box.width);
      this.bottom = Math.max(this.bottom, y + box.height);
      return { x, y };
    }
    of(node) {
      if (node.nodeType === Node.TEXT_NODE) return this.words(node);
      if (node.nodeType !== Node.ELEMENT_NODE || node.matches(".files, figcaption, .controls, .hidden, script, noscript")) return;
      const box = node.getBoundingClientRect();
      if (!box.width || !box.height) return;
      if (node.tagName === "svg") return this.picture(node, box);
      if (node.matches("img, canvas")) {
        const href = node.src || node.toDataURL();
        return element(this.root, "image", { ...this.place(box), width: rounded(box.width), height: rounded(box.height), href, preserveAspectRatio: "none", style: "image-rendering: pixelated" });
      }
      this.box(node, box);
      for (const child of node.childNodes) this.of(child);
    }
    picture(svg, box) {
      const { x, y } = this.place(box), [, , width] = svg.getAttribute("viewBox").split(" ");
      const group = element(this.root, "g", { transform: `translate(${x} ${y}) scale(${rounded(1e3 * box.width / width) / 1e3})` });
      group.append(...[...svg.childNodes].map((child) => child.cloneNode(true)));
    }
    box(node, box) {
      const look = getComputedStyle(node), ring = parseFloat(look.borderTopWidth) > 0 && look.borderRadius === "50%";
      const stops = look.backgroundImage.match(/rgba?\([^)]*\)/g) || [];
      let fill = look.backgroundColor;
      if (stops.length) {
        const id = `scale-${this.root.childElementCount}`;
        const scale = element(element(this.root, "defs", {}), "linearGradient", { id });
        stops.forEach((colour, i) => element(scale, "stop", { offset: i / (stops.length - 1), "stop-color": colour }));
        fill = `url(#${id})`;
      }
      if (/, 0\)$|^transparent$/.test(fill)) fill = "none";
      if (fill === "none" && !ring) return;
      const { x, y } = this.place(box), stroke = ring ? look.borderTopColor : "none";
      if (look.borderRadius === "50%") {
        element(this.root, "circle", { cx: x + box.width / 2, cy: y + box.height / 2, r: box.width / 2, fill, stroke, "stroke-width": 1.5 });
      } else element(this.root, "rect", { x, y, width: rounded(box.width), height: rounded(box.height), fill });
    }
    words(node) {
      const look = getComputedStyle(node.parentElement), range = document.createRange(), lines = [];
      for (const found of node.data.matchAll(/\S+/g)) {
        range.setStart(node, found.index);
        range.setEnd(node, found.index + found[0].length);
        const box = range.getBoundingClientRect(), line = lines.at(-1);
        if (!box.width) continue;
        if (line && Math.abs(line.box.top - box.top) < 2 && look.writingMode === "horizontal-tb") line.text += ` ${found[0]}`;
        else lines.push({ box, text: found[0] });
        this.place(box);
      }
      for (const { box, text } of lines) {
        const { x, y } = this.place(box), size = parseFloat(look.fontSize);
        const at = look.writingMode === "horizontal-tb" ? { x, y: rounded(y + box.height / 2 + 0.35 * size) }
          : { transform: `translate(${rounded(x + box.width / 2 + 0.35 * size)} ${rounded(y + box.height)}) rotate(-90)` };
        element(this.root, "text", { ...at, "font-size": size, "font-weight": look.fontWeight, fill: look.color }).textContent = text;
      }
    }
  }

  const drawn = (figure, title) => {
    const width = figure.style.width, redraw = () => window.dispatchEvent(new Event("resize"));
    figure.classList.add("as-file");
    const own = figure.querySelector(":scope > svg");
    figure.style.width = `${own ? own.viewBox.baseVal.width * PIXELS : WIDE}px`;
    redraw(); // canvases follow the size and the colours
    const { root } = new Drawing(figure), look = getComputedStyle(figure);
    const name = document.createElementNS(SVG, "title");
    name.textContent = title;
    root.prepend(name);
    const text = new XMLSerializer().serializeToString(root).replace(/var\(--(\w+)\)/g, (_, colour) => look.getPropertyValue(`--${colour}`).trim());
    figure.classList.remove("as-file");
    figure.style.width = width;
    redraw();
    return `<?xml version="1.0" encoding="utf-8"?>\n${text}\n`;
  };

  // --- numbers ---

  const inflated = (packed) => {
    const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).text();
  };
  // a cell as programs read it: no spaces in numbers, a hyphen for minus, nothing for no value
  const plain = (cell) => {
    const text = cell.textContent.replace(/\s+/g, " ").trim();
    const number = text.replace(/(\d)\u202f(?=\d)/g, "$1").replace(/−(?=\d)/g, "-");
    return number === "–" ? "" : /[",]/.test(number) ? `"${number.replace(/"/g, '""')}"` : number;
  };
  const table = (rows) => [...rows].map((row) => `${[...row.cells].map(plain).join(",")}\n`).join("");

  // --- the buttons ---

  const offer = (after, what, forms) => {
    const bar = document.createElement("p");
    bar.className = "files";
    bar.append("Download ");
    for (const [form, about, action] of forms) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = form;
      button.setAttribute("aria-label", `${form}: ${about} ${what}`);
      button.addEventListener("click", action);
      bar.append(button, " ");
    }
    after(bar);
  };
  const heading = (part) => {
    const words = [part.closest("section").querySelector("h2"), part.matches("figure") && part.querySelector("h3, caption")];
    return [...words.filter(Boolean).map((one) => one.textContent.trim()), part.dataset.title].filter(Boolean).join(", ");
  };
  const used = new Map();
  const named = (name) => {
    used.set(name, (used.get(name) || 0) + 1);
    return used.get(name) > 1 ? `${name}-${used.get(name)}` : name;
  };
  for (const figure of document.querySelectorAll("main section figure")) {
    const name = named(figure.dataset.name || figure.closest("section").id), title = heading(figure), packed = figure.dataset.csv;
    const forms = [["SVG", "the figure", () => save(`${name}.svg`, "image/svg+xml", drawn(figure, title))]];
    if (packed && window.DecompressionStream) {
      forms.push(["CSV", "the numbers of", async () => save(`${name}.csv`, "text/csv", await inflated(packed))]);
    }
    offer((bar) => figure.append(bar), title, forms);
  }
  for (const region of document.querySelectorAll(".scroll")) {
    if (region.closest("figure")) continue;
    const { rows } = region.querySelector("table"), what = region.getAttribute("aria-label");
    const name = named(`table-${what.toLowerCase().replace(/[^a-z0-9]+/g, "-")}`);
    offer((bar) => region.after(bar), what, [["CSV", "the table", () => save(`${name}.csv`, "text/csv", table(rows))]]);
  }
})();
