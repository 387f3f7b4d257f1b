// What each preset asks: its controls, their first values, and the runs of the sampler that settings stand for. First
// values are those of the notebooks' widgets.

import { CLASSIC } from "./family.mjs";
import { lane, share } from "./lane.mjs";
import { SAMPLERS } from "./samplers.mjs";

const PROMPT = "a large shiny red sphere on a green floor in front of a white wall";
const FIRST = { prompt: PROMPT, negative: "", sampler: "ddim", steps: 20, eta: 0, spacing: "leading", scale: 4, seed: 7 };

/**
 * defaults      first values of the settings
 * controls      names of those shown, in order; `top` those above the pictures, `more` those behind
 *               "More settings"
 * groups        from settings to rows of lanes: { title, columns, lanes }. A lane has a key that stays the same while
 *               settings change, a label, and what it runs: settings, guidance rule, count, film
 * models        names of the models that it needs, unless it is the classic alone
 * keeps         names of the settings with which the pictures that stay beside the live ones were made; they are shown
 *               while these have their first values, so that they never stand beside pictures of another prompt
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
    // A prompt that leaves much open, unguided: where everything is said and guided, both samplers agree from the start.
    defaults: { ...FIRST, prompt: "a sphere", scale: 1, sampler: "ddim", other: "ddpm", steps: 10, film: true },
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
    keeps: ["prompt", "seed", "steps"],
    // The ends of the notebook's strips: nothing of the prompt, Bayes' rule, and one scale that the reader moves. The
    // interval changes little at the first two.
    groups: (s) => {
      const within = { start: Math.min(s.start, s.stop), stop: Math.max(s.start, s.stop) };
      const inside = `scale ${s.largest}, from ${share(within.start)} to ${share(within.stop)} of the run`;
      const moved = {
        free: lane("free", `scale ${s.largest}`, s, free(s.largest)),
        interval: lane("interval", inside, s, { ...free(s.largest), ...within }),
      };
      const shown = Object.keys(moved).filter((method) => s.method === "all" || s.method === method);
      const ends = [0, 1].map((scale) => lane(`scale-${scale}`, `scale ${scale}`, s, free(scale)));
      return [{ columns: 4, lanes: [...ends, ...shown.map((method) => moved[method])] }];
    },
  },
  "negative-prompts": {
    // Of the prompts without a colour that scripts/playground_negative.py tried, none comes out red much more often: the
    // judge sees 31% red spheres (95%: 25 to 37, n = 250), and 2% (1 to 5) with the negative. Four starts show one in 77%.
    defaults: { ...FIRST, prompt: "a matte sphere", negative: "red", formula: "both", weight: 4, from: 0, to: 20 },
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
        used: () => lane("used", "The formula in use", s, used, { count: 4 }),
        guessed: () => lane("three", `Three predictions, weight ${s.weight}`, s, three, { count: 4 }),
        perpendicular: () => lane("perpendicular", "Perp-Neg", s, perpendicular, { count: 4 }),
      };
      const without = lane("without", "Without it", { ...s, negative: "" }, free(s.scale), { count: 4 });
      return [{ columns: 3, lanes: [without, ...shown.map((name) => formulas[name]())] }];
    },
  },
  flows: {
    // Each model at its own levels. The student's guidance is an input; the others are asked twice a step, so at four
    // steps eight times.
    models: [CLASSIC, "still-life-flow", "still-life-fast"],
    defaults: { prompt: "a large shiny red sphere on a green floor", negative: "", sampler: "ddim", eta: 0, guide: 2, seed: 0 },
    top: ["prompt"],
    controls: ["guide", "seed"],
    more: [],
    groups: (s) => {
      const of = (key, label, steps, model) => lane(key, label, { ...s, steps }, free(s.guide), { model });
      const lanes = [
        of("classic", "classic, 4 steps", 4),
        of("flow", "flow, 4 steps", 4, "still-life-flow"),
        of("student-4", "student, 4 steps", 4, "still-life-fast"),
        of("student-1", "student, 1 step", 1, "still-life-fast"),
      ];
      return [{ columns: 4, lanes }];
    },
  },
};

function free(scale) {
  return { rule: "classifier_free", scale };
}

function title(s, sampler) {
  return `${SAMPLERS[sampler].title}${sampler === "ddim" && s.eta ? `, eta ${s.eta}` : ""}, ${s.steps} ${s.steps === 1 ? "step" : "steps"}`;
}
