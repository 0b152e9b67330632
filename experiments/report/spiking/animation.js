"use strict";
// Draws the edit log that `animation.py` packed: every rule on its own canvas, all on one clock.
(() => {
  const data = JSON.parse(document.getElementById("replay").textContent);
  const { side, seconds } = data, size = side * side, last = seconds.length - 1;
  const $ = (id) => document.getElementById(id);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const pairs = (text, width) => {
    const raw = bytes(text).buffer;
    return width === 2 ? new Uint16Array(raw) : new Uint32Array(raw);
  };
  const colours = bytes(data.colours);

  // counts of one projection at a frame, moved there step by step in either direction
  class Replay {
    constructor(packed) {
      this.start = pairs(packed.start, packed.bytes);
      this.gone = this.split(pairs(packed.gone, packed.bytes), packed.n_gone);
      this.come = this.split(pairs(packed.come, packed.bytes), packed.n_come);
      this.counts = new Uint16Array(size * size);
      for (const pair of this.start) this.counts[pair]++;
      this.total = this.start.length;
      this.frame = 0;
    }
    split(all, lengths) {
      let at = 0;
      return lengths.map((n) => all.subarray(at, (at += n)));
    }
    change(come, gone) {
      for (const pair of gone) this.counts[pair]--;
      for (const pair of come) this.counts[pair]++;
      this.total += come.length - gone.length;
    }
    seek(frame) {
      for (; this.frame < frame; this.frame++) this.change(this.come[this.frame], this.gone[this.frame]);
      for (; this.frame > frame; this.frame--) this.change(this.gone[this.frame - 1], this.come[this.frame - 1]);
    }
    // mean over neurons of the synapses at each displacement, the neuron's own place in the middle
    byDistance() {
      const mean = new Float32Array(size), half = side >> 1;
      for (let post = 0, pair = 0; post < size; post++) {
        const down = half - Math.floor(post / side) + side, right = half - (post % side) + side;
        for (let pre = 0; pre < size; pre++, pair++) {
          const n = this.counts[pair];
          if (n) mean[((Math.floor(pre / side) + down) % side) * side + ((pre % side) + right) % side] += n / size;
        }
      }
      return mean;
    }
    of(post) {
      return Float32Array.from(this.counts.subarray(post * size, (post + 1) * size));
    }
    afferents(post) {
      let n = 0;
      for (let pair = post * size; pair < (post + 1) * size; pair++) n += this.counts[pair];
      return n;
    }
  }

  const rules = data.rules.map((rule) => {
    const box = document.createElement("div"), name = document.createElement("span");
    const canvas = document.createElement("canvas"), told = document.createElement("small");
    name.textContent = rule.label;
    canvas.setAttribute("role", "img");
    box.append(name, canvas, told);
    $("stages").append(box);
    return {
      ...rule, canvas, told,
      ff: new Replay(rule.ff),
      lateral: rule.lateral && new Replay(rule.lateral),
      preferred: bytes(rule.preferred),
    };
  });

  // the largest value that a view ever shows, so that frames and rules share a scale
  const largest = (read) => {
    let most = 0;
    for (const frame of [0, last >> 1, last]) {
      for (const rule of rules) {
        rule.ff.seek(frame);
        if (rule.lateral) rule.lateral.seek(frame);
        const values = read(rule);
        if (values) for (const value of values) most = Math.max(most, value);
      }
    }
    return most || 1;
  };
  const scales = {
    ff: largest((rule) => rule.ff.byDistance()),
    lateral: largest((rule) => rule.lateral && rule.lateral.byDistance()),
    neuron: 2, // a third parallel synapse is rare, and one must be seen
  };

  const player = playerOf({ play: "play", when: "when", clock: "clock" }, last, 130, draw);
  let neuron = size / 2 + (side >> 1);

  function draw() {
    const view = $("view").value, frame = player.at();
    for (const rule of rules) {
      rule.ff.seek(frame);
      if (rule.lateral) rule.lateral.seek(frame);
      const edge = Math.round(rule.canvas.clientWidth * (window.devicePixelRatio || 1)) || 200;
      if (rule.canvas.width !== edge) rule.canvas.width = rule.canvas.height = edge;
      const pen = rule.canvas.getContext("2d");
      pen.setTransform(edge / side, 0, 0, edge / side, 0, 0);
      pen.clearRect(0, 0, side, side);
      if (view === "map") mesh(pen, rule);
      else if (view === "neuron") heat(pen, rule.ff.of(neuron), scales.neuron, Math.floor(neuron / side), neuron % side);
      else if (rule[view]) heat(pen, rule[view].byDistance(), scales[view], side >> 1, side >> 1);
      tell(rule);
    }
    const clock = `${seconds[frame].toFixed(seconds[last] < 10 ? 2 : 0)} s`;
    player.tell(clock, clock);
    $("picker").hidden = view !== "neuron";
    $("heat").hidden = view === "map";
    if (view !== "map") $("most").textContent = `${Number(scales[view].toPrecision(2))} synapses ${view === "neuron" ? "or more from one source" : "a neuron"}`;
  }

  const tell = (rule) => {
    const frame = player.at();
    const number = (value) => (value === null ? "–" : value.toFixed(2));
    const lateral = rule.lateral ? ` + ${(rule.lateral.total / size).toFixed(1)} lateral` : "";
    rule.told.textContent = `σ ${number(rule.sigma[frame])}, AD ${number(rule.ad[frame])}; ${(rule.ff.total / size).toFixed(1)} feed-forward${lateral} a neuron`;
    rule.canvas.setAttribute("aria-label", `${rule.label} after ${seconds[frame]} s: ${rule.told.textContent}`);
  };

  const mesh = (pen, rule) => {
    const frame = player.at();
    const at = (post) => {
      const i = 2 * (frame * size + post);
      return [(rule.preferred[i] / 256) * side + 0.5, (rule.preferred[i + 1] / 256) * side + 0.5];
    };
    const known = Array.from({ length: size }, (_, post) => rule.ff.afferents(post) > 0);
    pen.strokeStyle = getComputedStyle(rule.canvas).getPropertyValue(`--${rule.colour}`);
    pen.lineWidth = side / 200;
    pen.beginPath();
    for (let post = 0; post < size; post++) {
      const row = Math.floor(post / side), column = post % side;
      for (const other of [((row + 1) % side) * side + column, row * side + ((column + 1) % side)]) {
        if (!known[post] || !known[other]) continue;
        const [y, x] = at(post), to = at(other);
        const down = to[0] - y - side * Math.round((to[0] - y) / side);
        const right = to[1] - x - side * Math.round((to[1] - x) / side);
        // once as it is and once for each edge of the sheet that it crosses
        for (const a of [-side, 0, side]) for (const b of [-side, 0, side]) {
          pen.moveTo(x + b, y + a);
          pen.lineTo(x + b + right, y + a + down);
        }
      }
    }
    pen.stroke();
  };

  const picture = document.createElement("canvas");
  picture.width = picture.height = side;

  const heat = (pen, values, most, row, column) => {
    const brush = picture.getContext("2d"), image = brush.createImageData(side, side);
    for (let i = 0; i < size; i++) {
      const c = 3 * Math.min(255, Math.round((255 * values[i]) / most));
      image.data.set([colours[c], colours[c + 1], colours[c + 2], 255], 4 * i);
    }
    brush.putImageData(image, 0, 0);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(picture, 0, 0);
    for (const [colour, width] of [["#111", 0.3], ["#fff", 0.16]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = width;
      pen.beginPath();
      pen.arc(column + 0.5, row + 0.5, 0.65, 0, 2 * Math.PI);
      pen.stroke();
    }
  };

  const choose = (row, column) => {
    const inside = (value) => Math.min(side - 1, Math.max(0, Math.floor(Number(value)) || 0));
    neuron = inside(row) * side + inside(column);
    $("row").value = Math.floor(neuron / side);
    $("column").value = neuron % side;
    draw();
  };

  $("view").addEventListener("change", draw);
  for (const id of ["row", "column"]) $(id).addEventListener("change", () => choose($("row").value, $("column").value));
  for (const { canvas } of rules) canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    if ($("view").value === "neuron") {
      choose((side * (event.clientY - box.top)) / box.height, (side * (event.clientX - box.left)) / box.width);
    }
  });
  document.querySelector(".animation .controls").hidden = false;
  choose(side >> 1, side >> 1);
})();
