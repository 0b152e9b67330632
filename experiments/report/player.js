"use strict";
// The button, the slider and the clock of an animation; `draw` shows the frame that `at` gives.
const playerOf = (ids, last, wait, draw) => {
  const $ = (id) => document.getElementById(id);
  let frame = last, playing = 0;
  const play = (on) => {
    clearInterval(playing);
    playing = 0;
    if (on) {
      if (frame === last) frame = 0;
      playing = setInterval(() => {
        frame++;
        draw();
        if (frame === last) play(false);
      }, wait);
    }
    $(ids.play).textContent = on ? "pause" : "play";
    $(ids.play).setAttribute("aria-pressed", String(on));
    draw();
  };
  $(ids.play).addEventListener("click", () => play(!playing));
  $(ids.when).addEventListener("input", () => {
    if (playing) play(false);
    frame = Number($(ids.when).value);
    draw();
  });
  window.addEventListener("resize", draw);
  for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", draw);
  return {
    at: () => frame,
    tell: (clock, spoken) => {
      $(ids.when).value = frame;
      $(ids.clock).textContent = clock;
      $(ids.when).setAttribute("aria-valuetext", spoken);
    },
  };
};
