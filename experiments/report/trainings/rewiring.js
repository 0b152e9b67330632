"use strict";
// Draws the bundles of edges that `rewiring.py` packed: every rule on its own canvas, all on one clock.
(() => {
  const data = JSON.parse(document.getElementById("rewiring-data").textContent);
  const last = data.frames - 1;
  const $ = (id) => document.getElementById(id);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const rules = data.rules.map((rule) => {
    const box = document.createElement("div"), name = document.createElement("span");
    const canvas = document.createElement("canvas"), told = document.createElement("small");
    name.textContent = rule.label;
    canvas.setAttribute("role", "img");
    box.append(name, canvas, told);
    $("rewiring-stages").append(box);
    return { ...rule, canvas, told, counts: new Uint16Array(bytes(rule.counts).buffer), young: new Uint16Array(bytes(rule.young).buffer) };
  });
  const size = data.bundles.length;

  function draw() {
    const frame = player.at();
    for (const rule of rules) {
      const wide = Math.round(rule.canvas.clientWidth * (window.devicePixelRatio || 1)) || 300;
      const high = Math.round(wide * 0.62);
      if (rule.canvas.width !== wide) { rule.canvas.width = wide; rule.canvas.height = high; }
      const pen = rule.canvas.getContext("2d"), css = getComputedStyle(rule.canvas);
      const colour = (name) => css.getPropertyValue(`--${name}`);
      pen.clearRect(0, 0, wide, high);
      const x = (column) => wide * (0.03 + 0.94 * column), y = (height) => high * (0.97 - 0.94 * height);
      const stroke = (k, n, ink, alpha) => {
        const [x0, y0, x1, y1] = data.bundles[k];
        pen.strokeStyle = ink;
        pen.globalAlpha = alpha;
        pen.lineWidth = Math.max(((wide / 60) * n) / data.most, wide / 1500);
        pen.beginPath();
        pen.moveTo(x(x0), y(y0));
        const bend = x1 > x0 ? (x1 - x0) / 2 : 0.12;
        pen.bezierCurveTo(x(x0 + bend), y(y0), x(x1 > x0 ? x1 - bend : x1 + bend), y(y1), x(x1), y(y1));
        pen.stroke();
      };
      let all = 0, young = 0;
      for (let k = 0; k < size; k++) {
        const n = rule.counts[frame * size + k], fresh = rule.young[frame * size + k];
        all += n;
        young += fresh;
        if (n > fresh) stroke(k, n - fresh, colour("muted"), 0.45);
      }
      for (let k = 0; k < size; k++) {
        const fresh = rule.young[frame * size + k];
        if (fresh) stroke(k, fresh, colour("vermillion"), 0.6);
      }
      pen.globalAlpha = 1;
      pen.fillStyle = colour("ink");
      for (const [column, height] of data.units) {
        pen.beginPath();
        pen.arc(x(column), y(height), wide / 200, 0, 2 * Math.PI);
        pen.fill();
      }
      const step = rule.steps[frame], share = all ? ((100 * young) / all).toFixed(1) : "0";
      rule.told.textContent = `step ${step}: ${all} edges${data.sampled ? " followed" : ""}, ${share} % formed since the start`;
      rule.canvas.setAttribute("aria-label", `${rule.label}, ${rule.told.textContent}`);
    }
    const clock = `${Math.round((100 * frame) / last)} %`;
    player.tell(clock, `${clock} of the run`);
  }

  const player = playerOf({ play: "rewiring-play", when: "rewiring-when", clock: "rewiring-clock" }, last, 180, draw);
  document.querySelector(".rewiring .controls").hidden = false;
  draw();
})();
