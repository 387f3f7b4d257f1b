// The board of eight blobs, four colours by two shapes, where "not red" has an exact answer: the mirror of
// diffusion_tutorial/mixtures/board.py. A text names blobs; its prediction is that of the mixture of these, exactly.

import { guided, ruleOf } from "./guidance.mjs";
import { eps } from "./mixture.mjs";
import { gaussian } from "./noise.mjs";
import { walk } from "./samplers.mjs";
import { NoiseSchedule } from "./schedule.mjs";

export const COLOURS = ["red", "orange", "green", "blue"];
export const SHAPES = ["sphere", "cube"];
const STD = 0.15;
export const BLOBS = SHAPES.flatMap((shape, s) => COLOURS.map((colour, c) => ({ colour, shape, x: c - 1.5, y: 0.75 - 1.5 * s, variance: STD ** 2 })));

/** The blobs that a text names; "" names all. */
export function named(text) {
  const words = text.split(" ").filter(Boolean);
  return BLOBS.filter(({ colour, shape }) => words.every((word) => word === colour || word === shape));
}

/** Where a text's blobs have their middle, { x, y }. */
export function middle(blobs) {
  const mean = (key) => blobs.reduce((sum, blob) => sum + blob[key], 0) / blobs.length;
  return { x: mean("x"), y: mean("y") };
}

/** The blobs of a text, moved as one so that their middle lies at a place { x, y }. */
export function movedTo(blobs, place) {
  const { x, y } = middle(blobs);
  return blobs.map((blob) => ({ ...blob, x: blob.x + place.x - x, y: blob.y + place.y - y }));
}

/** The rules that the stage compares, at one scale: the formula in use, the guess at equal weights, and Perp-Neg. */
export function rules(scale) {
  return [
    { rule: "negative_prompt", scale },
    { rule: "three_branch", lambdaPos: scale, lambdaNeg: scale },
    { rule: "perp_neg", scale },
  ];
}

/**
 * Where n points of noise end under a rule, x0 y0 x1 y1 ...: DDIM over the linear schedule, trailing.
 * positive and negative are lists of blobs.
 */
export async function ends(rule, positive, negative, n, seed, steps = 20) {
  const by = { uncond: BLOBS, cond: positive, neg: negative };
  const predict = (x, { alphaBar }, branches) => Object.fromEntries(branches.map((branch) => [branch, eps(by[branch], x, alphaBar)]));
  const transitions = NoiseSchedule.linear().transitions(steps, "trailing", undefined, "grid");
  let last = null;
  for await (const step of walk(guided(ruleOf(rule), predict, n), Float64Array.from(gaussian(n, 2, seed)), transitions)) last = step.xS;
  return last;
}

/**
 * What each prediction expects in the end, seen from the middle of the board at the noisiest level: { empty, wanted, not,
 * results }, each { x, y }. Every rule is a sum of predictions whose weights add up to one, so its own is that of these.
 */
export function expected(positive, negative, scale) {
  const origin = new Float64Array(2);
  const level = NoiseSchedule.linear().alphasCumprod.at(-1);
  const of = (e) => ({ x: (-Math.sqrt(1 - level) * e[0]) / Math.sqrt(level), y: (-Math.sqrt(1 - level) * e[1]) / Math.sqrt(level) });
  const predictions = { uncond: eps(BLOBS, origin, level), cond: eps(positive, origin, level), neg: eps(negative, origin, level) };
  const moment = { step: 0, steps: 1, t: 0, alphaBar: level };
  return {
    empty: of(predictions.uncond),
    wanted: of(predictions.cond),
    not: of(predictions.neg),
    results: rules(scale).map((rule) => of(ruleOf(rule).map(predictions, moment, 1))),
  };
}
