// Students: guidance scale and negative prompt are inputs of the network, which was distilled for a few of Euler's steps.
// The mirror of diffusion_tutorial/checkpoints/student.py.

import { allowed } from "./errors.mjs";

const SAMPLER = "ddim"; // on a flow's straight line its steps are Euler's
const RULES = ["classifier_free", "negative_prompt"]; // the two names of a plain scale, without and with a negative prompt

/**
 * What the network is told: cosines of log(scale) beside a sum of the negative prompt's states.
 * @param {number} scale in [1, most]
 * @param {ArrayLike<number>} states the text encoder's, token after token; summed, over the root of their number
 * @returns {Float32Array} of waves + width numbers
 */
export function told(scale, states, { waves, width, most }) {
  const u = Math.log(scale) / Math.log(most);
  const sums = new Float64Array(width);
  for (let k = 0; k < states.length; k += 1) sums[k % width] += states[k];
  const root = Math.sqrt(states.length / width);
  return Float32Array.from({ length: waves + width }, (_, k) => (k < waves ? Math.cos(Math.PI * u * k) : sums[k - waves] / root));
}

/**
 * A student's request, or a RangeError that says what it takes.
 * @param about { steps, most }, of the manifest
 * @param model { name, spacing }: its name, and the one spacing that it has
 * @returns {{ numInferenceSteps: number, scale: number, negative: string }}
 */
export function studentsRequest(request, { steps: known, most }, { name, spacing }) {
  const { numInferenceSteps = Math.max(...known), guidance = { rule: RULES[0], scale: 2 }, negativePrompt = "" } = request;
  if (!known.includes(numInferenceSteps)) {
    const few = `${known.slice(0, -1).join(", ")} or ${known.at(-1)}`;
    throw new RangeError(allowed("numInferenceSteps", numInferenceSteps, `${few} with ${name}, which was distilled for them`));
  }
  const { rule, scale, ...more } = guidance;
  const only = [
    ["sampler", request.sampler ?? SAMPLER, SAMPLER],
    ["spacing", request.spacing ?? spacing, spacing],
    ["eta", request.eta ?? 0, 0],
    ["guidance.rule", rule, RULES.includes(rule) ? rule : RULES[0]],
    ...Object.keys(more).map((key) => [`guidance.${key}`, more[key], undefined]),
  ];
  for (const [field, value, one] of only) {
    if (value === one) continue;
    const what = typeof one === "string" ? `“${one}”` : (one ?? "none");
    throw new RangeError(allowed(field, value, `${what} with ${name}, whose steps are Euler's and whose network is told of guidance`));
  }
  if (!(scale >= 1 && scale <= most)) throw new RangeError(allowed("guidance.scale", scale, `a number from 1 to ${most}`));
  return { numInferenceSteps, scale, negative: rule === "negative_prompt" ? negativePrompt : "" };
}
