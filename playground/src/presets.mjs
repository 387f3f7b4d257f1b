// What each preset asks: its controls, their first values, and the runs of the sampler that settings stand for. First
// values are those of the notebooks' widgets.

import { lane } from "./lane.mjs";
import { SAMPLERS } from "./samplers.mjs";

const PROMPT = "a large shiny red sphere on a green floor in front of a white wall";
const FIRST = { prompt: PROMPT, negative: "", sampler: "ddim", steps: 20, eta: 0, spacing: "leading", scale: 4, seed: 7 };
const COLUMNS = 5; // of the strips over scales
const FREE = "Classifier-free";
const INTERVAL = "The same, inside an interval of the run";

/** 0 (nothing of the prompt), 1 (Bayes' rule) and then even ratios up to `largest`; as widgets/guidance.py. */
export function scalesTo(largest, count = COLUMNS) {
  const ratios = Array.from({ length: count - 2 }, (_, k) => Number((largest ** ((k + 1) / (count - 2))).toFixed(1)));
  return [0, 1, ...ratios];
}

/**
 * defaults      first values of the settings
 * controls      names of those shown, in order; `top` those above the pictures, `more` those behind
 *               "More settings"
 * groups        from settings to rows of lanes: { title, columns, lanes }. A lane has a key that stays the same while
 *               settings change, a label, and what it runs: settings, guidance rule, count, film
 */
export const PRESETS = {
  intro: {
    defaults: { ...FIRST },
    top: [],
    controls: ["sentence", "seed"],
    more: [],
    groups: (s) => [{ columns: 1, lanes: [lane("picture", "", s, free(s.scale))] }],
  },
  "still-life": {
    defaults: { ...FIRST, prompt: "a large shiny red sphere on a green floor", film: true },
    top: ["prompt"],
    controls: ["steps", "scale", "seed"],
    more: ["negative", "sampler", "eta", "spacing", "film"],
    groups: (s) => {
      const rule = s.negative ? { rule: "negative_prompt", scale: s.scale } : free(s.scale);
      return [{ columns: 1, lanes: [lane("picture", "", s, rule, { film: s.film })] }];
    },
  },
  "few-steps": {
    defaults: { ...FIRST, sampler: "ddim", other: "ddpm", steps: 10, film: true },
    top: ["steps"],
    controls: ["sampler", "other", "eta", "seed"],
    more: ["prompt", "scale", "spacing", "film"],
    groups: (s) => [
      {
        columns: 2,
        lanes: [
          lane("first", title(s, s.sampler), s, free(s.scale), { film: s.film }),
          lane("second", title(s, s.other), { ...s, sampler: s.other }, free(s.scale), { film: s.film }),
        ],
      },
    ],
  },
  guidance: {
    defaults: { ...FIRST, prompt: "a red sphere", method: "all", largest: 8, start: 0.1, stop: 0.6, seed: 5 },
    top: ["largest"],
    controls: ["prompt", "seed"],
    more: ["method", "start", "stop", "steps"],
    groups: (s) => {
      const within = { start: Math.min(s.start, s.stop), stop: Math.max(s.start, s.stop) };
      const strip = (key, more) =>
        scalesTo(s.largest).map((scale, k) => lane(`${key}-${k}`, `scale ${scale}`, s, { ...free(scale), ...more }));
      const rows = { free: { title: FREE, lanes: strip("free", {}) }, interval: { title: INTERVAL, lanes: strip("interval", within) } };
      return Object.entries(rows)
        .filter(([method]) => s.method === "all" || s.method === method)
        .map(([, row]) => ({ columns: COLUMNS, ...row }));
    },
  },
  "negative-prompts": {
    defaults: { ...FIRST, prompt: "a sphere", negative: "red", formula: "both", weight: 4, from: 0, to: 20 },
    top: ["prompt", "negative", "scale"],
    controls: ["formula", "seed"],
    more: ["weight", "from", "to", "sampler"],
    groups: (s) => {
      const [from, to] = [Math.min(s.from, s.to), Math.max(s.from, s.to)];
      const always = from <= 0 && to >= s.steps;
      const window = always ? {} : { start: Math.min(from / s.steps, 1), stop: Math.min(to / s.steps, 1), outside: free(s.scale) };
      const used = { rule: "negative_prompt", scale: s.scale, ...window };
      const three = { rule: "three_branch", lambdaPos: s.scale, lambdaNeg: s.weight, ...window };
      const perpendicular = { rule: "perp_neg", scale: s.scale, ...window };
      const shown = s.formula === "both" ? ["used", "guessed"] : [s.formula];
      const formulas = {
        used: () => lane("used", "The formula in use", s, used, { count: 3 }),
        guessed: () => lane("three", `Three predictions, weight ${s.weight}`, s, three, { count: 3 }),
        perpendicular: () => lane("perpendicular", "Perp-Neg", s, perpendicular, { count: 3 }),
      };
      const without = lane("without", "Without it", { ...s, negative: "" }, free(s.scale), { count: 3 });
      return [{ columns: 3, lanes: [without, ...shown.map((name) => formulas[name]())] }];
    },
  },
};

function free(scale) {
  return { rule: "classifier_free", scale };
}

function title(s, sampler) {
  return `${SAMPLERS[sampler].title}${sampler === "ddim" && s.eta ? `, eta ${s.eta}` : ""}, ${s.steps} ${s.steps === 1 ? "step" : "steps"}`;
}
