// What each preset asks: its controls, their first values, and the runs of the sampler that settings stand for. First
// values are those of the notebooks' widgets.

import { SAMPLERS } from "./controls.mjs";

const PROMPT = "a large shiny red sphere on a green floor in front of a white wall";
const FIRST = { prompt: PROMPT, negative: "", sampler: "ddim", steps: 20, eta: 0, spacing: "leading", scale: 4, seed: 7 };
const SCALES = [1, 2, 4, 7.5, 10, 15];

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
    defaults: { ...FIRST, prompt: "a red sphere" },
    top: ["scale"],
    controls: ["prompt", "seed"],
    more: ["steps", "sampler"],
    groups: (s) => [
      { title: "Four starts at this scale", columns: 1, lanes: [lane("four", "", s, free(s.scale), { count: 4 })] },
      {
        title: "The first of them at six scales",
        columns: 6,
        lanes: SCALES.map((scale) => lane(`scale-${scale}`, `scale ${scale}`, { ...s, scale }, free(scale))),
      },
    ],
  },
  "negative-prompts": {
    defaults: { ...FIRST, prompt: "a sphere", negative: "green", weight: 4 },
    top: ["prompt", "negative", "scale"],
    controls: ["weight", "seed"],
    more: ["steps", "sampler"],
    groups: (s) => [
      {
        columns: 3,
        lanes: [
          lane("without", "Without it", { ...s, negative: "" }, free(s.scale), { count: 3 }),
          lane("used", "The formula in use", s, { rule: "negative_prompt", scale: s.scale }, { count: 3 }),
          lane("three", `Three predictions, weight ${s.weight}`, s, { rule: "three_branch", lambdaPos: s.scale, lambdaNeg: s.weight }, { count: 3 }),
        ],
      },
    ],
  },
};

/** One run: what the engine's `trajectory` takes, and the sentence that says what it is. */
function lane(key, label, s, guidance, { count = 1, film = false } = {}) {
  const eta = s.sampler === "ddim" ? s.eta : 0;
  const asksNegative = guidance.rule !== "classifier_free";
  const request = {
    prompt: s.prompt,
    negativePrompt: asksNegative ? s.negative : "",
    numInferenceSteps: s.steps,
    sampler: s.sampler,
    eta,
    spacing: s.spacing,
    seed: s.seed,
    numImages: count,
    guidance,
  };
  return { key, label, request, film, text: describe(request) };
}

/** The settings in one line, as the notebooks' widgets write it. */
export function describe({ prompt, negativePrompt, numInferenceSteps, sampler, eta, spacing, seed, guidance }) {
  const negative = negativePrompt ? `, not “${negativePrompt}”` : "";
  const chance = eta ? `, eta ${eta}` : "";
  const levels = spacing === "leading" ? "" : `, ${spacing}`;
  const three = guidance.rule === "three_branch";
  const scale = three ? `weights ${guidance.lambdaPos} and ${guidance.lambdaNeg}` : `guidance ${guidance.scale}`;
  return `“${prompt}”${negative}: ${numInferenceSteps} steps of ${sampler}${chance}${levels}, ${scale}, seed ${seed}`;
}

function free(scale) {
  return { rule: "classifier_free", scale };
}

function title(s, sampler) {
  return `${SAMPLERS[sampler]}${sampler === "ddim" && s.eta ? `, eta ${s.eta}` : ""}, ${s.steps} ${s.steps === 1 ? "step" : "steps"}`;
}
