// Guidance: the mirror of diffusion_tutorial/guidance.py. One function a rule, over typed arrays of equal length, and
// `ruleOf`, which says which predictions a rule needs. A scale of 1 is the conditional model, as everywhere here.

import { allowed, checkChoice } from "./errors.mjs";

/** uncond + s (cond - uncond) (Ho and Salimans 2022, eq. 6, with s = w + 1); a negative prompt takes uncond's place. */
export function classifierFree(uncond, cond, scale) {
  return uncond.map((e, k) => e + scale * (cond[k] - e));
}

/** uncond + lp (pos - uncond) - ln (neg - uncond). */
export function threeBranch(uncond, pos, neg, lambdaPos, lambdaNeg) {
  return uncond.map((e, k) => e + lambdaPos * (pos[k] - e) - lambdaNeg * (neg[k] - e));
}

/**
 * uncond + s (p - w q), q the part of neg - uncond at right angles to p = pos - uncond in each of `rows` rows (Perp-Neg,
 * Armandpour et al. 2023, section 4).
 */
export function perpendicularNegative(uncond, pos, neg, scale, weight = 1, rows = 1) {
  const size = uncond.length / rows;
  const eps = uncond.slice();
  for (let row = 0; row < rows; row++) {
    let [length, along] = [0, 0];
    for (let k = row * size; k < (row + 1) * size; k++) {
      length += (pos[k] - uncond[k]) ** 2;
      along += (pos[k] - uncond[k]) * (neg[k] - uncond[k]);
    }
    const share = length > 0 ? along / length : 0;
    for (let k = row * size; k < (row + 1) * size; k++) {
      const toward = pos[k] - uncond[k];
      eps[k] += scale * (toward - weight * (neg[k] - uncond[k] - share * toward));
    }
  }
  return eps;
}

const RULES = {
  conditional: () => always(["cond"], ({ cond }) => cond),
  unconditional: () => always(["uncond"], ({ uncond }) => uncond),
  classifier_free: ({ scale }) => between("uncond", scale),
  negative_prompt: ({ scale }) => between("neg", scale),
  three_branch: ({ lambdaPos, lambdaNeg }) => {
    number("lambdaPos", lambdaPos);
    number("lambdaNeg", lambdaNeg);
    return always(["uncond", "cond", "neg"], ({ uncond, cond, neg }) => threeBranch(uncond, cond, neg, lambdaPos, lambdaNeg));
  },
  perp_neg: ({ scale, weight = 1 }) => {
    number("scale", scale);
    number("weight", weight);
    return always(["uncond", "cond", "neg"], ({ uncond, cond, neg }, _, rows) => perpendicularNegative(uncond, cond, neg, scale, weight, rows));
  },
};

/**
 * A rule from plain data: { rule: "classifier_free", scale } and so on, see RULES; with start and stop, fractions of the
 * run, it holds while start <= step / steps < stop, and elsewhere data.outside does, by default the prompt's prediction
 * alone.
 *
 *   needs(moment)                           the branches that it needs at a step (samplers.mjs says what a moment is)
 *   map(predictions, moment, rows = 1)      their map to one eps, of `rows` pictures, one picture after the other
 *
 * @returns {{ needs: (moment) => string[], map: (predictions, moment, rows?: number) => ArrayLike<number> }}
 */
export function ruleOf(data) {
  const { start = 0, stop = 1, outside: other = { rule: "conditional" } } = data ?? {};
  checkChoice("guidance.rule", data?.rule, Object.keys(RULES));
  checkChoice("guidance.outside.rule", other.rule, Object.keys(RULES));
  if (!(0 <= start && start <= stop && stop <= 1)) {
    throw new RangeError(allowed("guidance.start and stop", `${start} and ${stop}`, "0 <= start <= stop <= 1"));
  }
  const [inside, outside] = [RULES[data.rule](data), RULES[other.rule](other)];
  const at = ({ step, steps }) => (start <= step / steps && step / steps < stop ? inside : outside);
  return {
    needs: (moment) => at(moment).needs(moment),
    map: (predictions, moment, rows = 1) => at(moment).map(predictions, moment, rows),
  };
}

/**
 * The denoiser of a run of `rows` pictures: what the rule needs at a moment, predicted together, mapped to one eps.
 * predict: (x, moment, branches) => { branch: eps }, or a promise of it. `denoiser.nfe` counts the predictions so far.
 */
export function guided(rule, predict, rows = 1) {
  const denoiser = async (x, moment) => {
    const branches = rule.needs(moment);
    denoiser.nfe += branches.length;
    return rule.map(await predict(x, moment, branches), moment, rows);
  };
  denoiser.nfe = 0;
  return denoiser;
}

/** A rule that needs the same at every step. */
function always(branches, map) {
  return { needs: () => branches, map };
}

/** From one prediction towards the prompt's; at scale 1 and 0 one of the two is enough. */
function between(base, scale) {
  number("scale", scale);
  if (scale === 1) return RULES.conditional();
  if (scale === 0) return always([base], (predictions) => predictions[base]);
  return always([base, "cond"], (predictions) => classifierFree(predictions[base], predictions.cond, scale));
}

function number(name, value) {
  if (!Number.isFinite(value)) throw new RangeError(allowed(`guidance.${name}`, value, "a finite number"));
}
