// The figure of the stage "solvers": paths of six points from noise to the blobs, exact ones and those of a sampler that
// asks a perfect denoiser a few times.

import { eps, ring } from "./mixture.mjs";
import { canvas } from "./plane.mjs";
import { walk } from "./samplers.mjs";

const [FINE, SAMPLER] = [256, "heun"]; // steps of what is drawn as exact: far below a pixel

/** n steps between two levels, even in the logarithm of the signal-to-noise ratio, as mixtures.even_log_snr. */
export function evenLogSnr(from, to, n) {
  const [a, b] = [from, to].map((level) => Math.log(level / (1 - level)));
  const levels = Array.from({ length: n + 1 }, (_, k) => 1 / (1 + Math.exp(-(a + ((b - a) * k) / n))));
  return levels.slice(1).map((alphaBarS, k) => ({ t: k, s: k + 1, alphaBarT: levels[k], alphaBarS }));
}

/** The states of points x0 y0 x1 y1 ... before each step and after the last, by a sampler with the exact prediction. */
export async function paths(points, from, to, n, sampler, blobs = ring()) {
  const found = [Float64Array.from(points)];
  const denoiser = (x, { alphaBar }) => eps(blobs, x, alphaBar);
  for await (const step of walk(denoiser, found[0], evenLogSnr(from, to, n), sampler)) found.push(step.xS);
  return found;
}

export function mount(box, about) {
  const { plane, sets, stops } = about;
  const { starts, from, to } = plane;
  let [exact, found, series, number] = [null, null, 0, 0];
  const request = canvas(box, plane, paint);
  return { draw };

  async function draw({ at, set }) {
    const mine = ++number;
    exact ??= await paths(starts, from, to, FINE, SAMPLER);
    const path = await paths(starts, from, to, Number(stops[at]), sets[set].sampler);
    if (mine !== number) return;
    [found, series] = [path, set];
    box.dataset.points = [...path.at(-1)].map((v) => v.toFixed(5)).join(); // for tests
    request();
  }

  function paint(pen) {
    for (const { x, y } of ring()) pen.dot(x * Math.sqrt(to), y * Math.sqrt(to), 0.28 * pen.unit, pen.colour("--pst-color-border"));
    if (!found) return;
    const of = (path, k) => path.map((x) => [x[2 * k], x[2 * k + 1]]);
    const ink = pen.colour("--pst-color-text-base");
    for (let k = 0; k < starts.length / 2; k++) {
      pen.line(of(exact, k), pen.colour("--pst-color-text-muted"), 1.5);
      pen.line(of(found, k), pen.series[series], 2);
      for (const [x, y] of of(found, k)) pen.dot(x, y, 2.6, pen.series[series]);
      pen.dot(...of(exact, k).at(-1), 4, ink);
    }
  }
}
