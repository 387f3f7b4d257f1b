// A walk of points from noise to blobs, and where they are between its steps.

import { guided, ruleOf } from "./guidance.mjs";
import { eps } from "./mixture.mjs";
import { gaussian } from "./noise.mjs";
import { SAMPLERS, walk as steps } from "./samplers.mjs";
import { NoiseSchedule } from "./schedule.mjs";

const SCHEDULE = NoiseSchedule.linear();

/** The first settings, those of the chapter's widget. */
export const FIRST = { sampler: "ddim", steps: 12, eta: 0, spacing: "trailing", seed: 0, only: "all", scale: 1 };

/**
 * The whole walk: { levels, share, points, x0, nfe }, levels and points before each step and after the last. share says
 * when each is reached, from 0 to 1; time runs evenly in the angle whose squared cosine is alpha_bar.
 * blobs is the data, wanted those of its blobs that are asked for, with guidance `scale` where that is not all.
 */
export async function walk({ sampler, steps: count, eta, spacing, seed, scale, points, blobs, wanted }) {
  const transitions = SCHEDULE.transitions(count, spacing, undefined, SAMPLERS[sampler].previous);
  const draw = (stream) => Float64Array.from(gaussian(points, 2, seed, stream));
  const all = wanted.length === blobs.length;
  const rule = ruleOf(all ? { rule: "unconditional" } : { rule: "classifier_free", scale });
  const data = { uncond: blobs, cond: wanted };
  const predict = (x, { alphaBar }, branches) => Object.fromEntries(branches.map((branch) => [branch, eps(data[branch], x, alphaBar)]));
  const denoiser = guided(rule, predict);
  const path = { levels: [], share: [], points: [draw(0)], x0: [] };
  for await (const step of steps(denoiser, path.points[0], transitions, sampler, eta, (index) => draw(index + 1))) {
    path.levels.push(step.alphaBarT);
    path.x0.push(step.x0);
    path.points.push(step.xS);
  }
  path.levels.push(transitions.at(-1).alphaBarS);
  const angles = path.levels.map(angle);
  path.share = angles.map((a) => (angles[0] - a) / (angles[0] - angles.at(-1)));
  path.nfe = denoiser.nfe;
  return path;
}

/**
 * Points and level at `share` of the way. Between two steps a point goes where the step's own prediction says, x0 and
 * noise in the proportion of the level there; what the step adds to that is added evenly.
 */
export function positionAt({ levels, share, points, x0 }, at) {
  const k = Math.min(Math.max(share.findLastIndex((s) => s <= at), 0), x0.length - 1);
  const part = Math.min(Math.max((at - share[k]) / (share[k + 1] - share[k]), 0), 1);
  const middle = angle(levels[k]) + part * (angle(levels[k + 1]) - angle(levels[k]));
  const [c, s] = [Math.cos(middle), Math.sin(middle)];
  const [cT, sT] = [Math.sqrt(levels[k]), Math.sqrt(1 - levels[k])];
  const [cS, sS] = [Math.sqrt(levels[k + 1]), Math.sqrt(1 - levels[k + 1])];
  const here = points[k].map((x, i) => {
    const noise = (x - cT * x0[k][i]) / sT;
    return c * x0[k][i] + s * noise + part * (points[k + 1][i] - cS * x0[k][i] - sS * noise);
  });
  return { points: here, alphaBar: c ** 2 };
}

function angle(alphaBar) {
  return Math.acos(Math.sqrt(alphaBar));
}
