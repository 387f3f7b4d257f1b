// What may be set: kind of control, label, range or options. Names and titles are the notebooks' widgets'.

import { SAMPLERS } from "./samplers.mjs";
import { SPACINGS } from "./schedule.mjs";

/** Methods that the menus leave out: name -> why. */
export const NOT_OFFERED = {};

const samplers = Object.fromEntries(
  Object.entries(SAMPLERS)
    .filter(([name]) => !Object.hasOwn(NOT_OFFERED, name))
    .map(([name, { title }]) => [name, title]),
);
const spacings = Object.fromEntries(SPACINGS.map((name) => [name, name]));

export const SETTINGS = {
  sentence: { kind: "sentence", label: "Words" },
  prompt: { kind: "prompt", label: "Prompt", button: "Draw" },
  negative: { kind: "text", label: "Negative prompt", placeholder: "what to steer away from" },
  sampler: { kind: "select", label: "Sampler", options: samplers },
  other: { kind: "select", label: "Beside it", options: samplers },
  steps: { kind: "range", label: "Steps", min: 1, max: 100, step: 1 },
  eta: { kind: "range", label: "eta (DDIM)", min: 0, max: 1, step: 0.1, digits: 1 },
  spacing: { kind: "select", label: "Spacing", options: spacings },
  scale: { kind: "range", label: "Guidance scale", min: 0, max: 15, step: 0.5, digits: 1 },
  guide: { kind: "range", label: "Guidance scale", min: 1, max: 6, step: 0.5, digits: 1 }, // what a student was told of
  weight: { kind: "range", label: "Weight of the negative", min: 0, max: 15, step: 0.5, digits: 1 },
  formula: {
    kind: "select",
    label: "Formula",
    options: { both: "the one in use and the guess", used: "in use", guessed: "three predictions", perpendicular: "Perp-Neg" },
  },
  method: { kind: "select", label: "Method", options: { all: "all", free: "classifier-free", interval: "interval" } },
  largest: { kind: "range", label: "Guidance scale", min: 2, max: 32, step: 1 },
  start: { kind: "range", label: "Interval from", min: 0, max: 1, step: 0.05, digits: 2 },
  stop: { kind: "range", label: "Interval to", min: 0, max: 1, step: 0.05, digits: 2 },
  from: { kind: "range", label: "The negative acts from step", min: 0, max: 20, step: 1 },
  to: { kind: "range", label: "The negative acts to step", min: 0, max: 20, step: 1 },
  seed: { kind: "seed", label: "Seed", min: 0, max: 2 ** 31 - 1 },
  film: { kind: "check", label: "The way there, step by step" },
  only: { kind: "select", label: "Ask for", options: { all: "all six blobs", 0: "the pair on the upper right", 1: "the pair on the left", 2: "the pair below" } },
};
