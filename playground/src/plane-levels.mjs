// The figure of the stage "schedules": which amounts of noise twenty steps visit, by spacing, and where pure noise would be.

import { canvas } from "./plane.mjs";
import { NoiseSchedule, linspace } from "./schedule.mjs";

/** Stable Diffusion's levels: betas even in their square roots (schedules.NoiseSchedule.scaled_linear). */
export function scaledLinear(n = 1000, start = 0.00085, end = 0.012) {
  let product = 1;
  const levels = linspace(Math.sqrt(start), Math.sqrt(end), n).map((root) => (product *= 1 - root ** 2));
  return new NoiseSchedule(levels, { stepsOffset: 1 });
}

export function mount(box, about) {
  const { plane } = about;
  const schedule = scaledLinear();
  let shown = 0;
  const request = canvas(box, plane, paint);
  return {
    draw({ at }) {
      shown = at;
      box.dataset.points = visited(plane.spacings[at]).join(); // for tests
      request();
    },
  };

  function visited(spacing) {
    return schedule.timesteps(plane.steps, spacing);
  }

  function paint(pen) {
    const { words } = plane;
    const muted = pen.colour("--pst-color-text-muted");
    const place = (level) => 0.9 - (1.8 * (Math.log10(level / (1 - level)) + 3)) / 6; // pure noise on the right
    const spacing = plane.spacings[shown];
    pen.line([[-0.95, 0], [0.95, 0]], muted, 1);
    for (const t of visited(spacing)) pen.dot(place(schedule.alphasCumprod[t]), 0, 4, pen.series[0]);
    const [top] = visited(spacing);
    const last = schedule.alphasCumprod.at(-1);
    pen.line([[place(last), -0.1], [place(last), 0.1]], pen.series[1], 2);
    pen.text(words.first, place(schedule.alphasCumprod[top]), 0, pen.series[0], { dx: -40, dy: 22 });
    pen.text(words.noisiest, place(last), 0, pen.series[1], { dx: -100, dy: -24 });
    pen.text(words.pure, 0.95, 0, muted, { dx: -10, dy: 44 });
  }
}
