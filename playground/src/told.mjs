// Students: guidance scale and negative prompt are inputs of the network, which was distilled for a few of Euler's steps.
// The mirror of diffusion_tutorial/checkpoints/student.py.

import { allowed } from "./errors.mjs";

const SAMPLER = "ddim"; // on a flow's straight line its steps are Euler's
const RULES = ["classifier_free", "negative_prompt"]; // the two names of a plain scale, without and with a negative prompt

/**
 * What the network is told: cosines of log(scale) beside the pooled negative prompt.
 * @param {number} scale in [1, most]
 * @param {ArrayLike<number>} pooled the text encoder's pooled output
 * @returns {Float32Array} of waves + pooled.length numbers
 */
export function told(scale, pooled, { waves, most }) {
  const u = Math.log(scale) / Math.log(most);
  return Float32Array.from({ length: waves + pooled.length }, (_, k) => (k < waves ? Math.cos(Math.PI * u * k) : pooled[k - waves]));
}

/** The pooled text: the row of the text encoder's states at the text's first end token. */
export function pooledOf(states, ids, end, width) {
  const row = ids.indexOf(BigInt(end));
  return states.slice(row * width, (row + 1) * width);
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
