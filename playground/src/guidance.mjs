// Guidance: the mirror of diffusion_tutorial/guidance.py. One function a rule, over typed arrays of equal length, and
// `ruleOf`, which says which predictions a rule needs. A scale of 1 is the conditional model, as everywhere here.

/** eps_uncond + s (eps_cond - eps_uncond) (Ho and Salimans 2022, eq. 6, with s = w + 1). */
export function classifierFree(uncond, cond, scale) {
  return uncond.map((e, k) => e + scale * (cond[k] - e));
}

/** eps_neg + s (eps_pos - eps_neg): the negative prompt in the place of the empty one. */
export function negativePrompt(neg, pos, scale) {
  return classifierFree(neg, pos, scale);
}

/** eps_uncond + lp (eps_pos - eps_uncond) - ln (eps_neg - eps_uncond). */
export function threeBranch(uncond, pos, neg, lambdaPos, lambdaNeg) {
  return uncond.map((e, k) => e + lambdaPos * (pos[k] - e) - lambdaNeg * (neg[k] - e));
}

const RULES = {
  conditional: () => ({ needs: ["cond"], map: ({ cond }) => cond }),
  unconditional: () => ({ needs: ["uncond"], map: ({ uncond }) => uncond }),
  classifier_free: ({ scale }) => between("uncond", scale),
  negative_prompt: ({ scale }) => between("neg", scale),
  three_branch: ({ lambdaPos, lambdaNeg }) => ({
    needs: ["uncond", "cond", "neg"],
    map: ({ uncond, cond, neg }) => threeBranch(uncond, cond, neg, number("lambdaPos", lambdaPos), number("lambdaNeg", lambdaNeg)),
  }),
};

/**
 * A rule from plain data: { rule: "classifier_free", scale } and so on, see RULES; with start and stop, fractions of the
 * run, it holds while start <= step / steps < stop, and elsewhere data.outside does, by default the prompt's prediction
 * alone.
 * @returns {(step: number, steps: number) => { needs: string[], map: (predictions) => ArrayLike<number> }}
 */
export function ruleOf(data) {
  if (!Object.hasOwn(RULES, data?.rule)) {
    throw new RangeError(`guidance.rule must be one of ${Object.keys(RULES).join(", ")}, got ${data?.rule}`);
  }
  const { start = 0, stop = 1, outside: other = { rule: "conditional" } } = data;
  if (!(0 <= start && start <= stop && stop <= 1)) throw new RangeError(`start and stop must obey 0 <= start <= stop <= 1, got ${start} and ${stop}`);
  if (!Object.hasOwn(RULES, other.rule)) throw new RangeError(`guidance.outside must be a rule of ${Object.keys(RULES).join(", ")}, got ${other.rule}`);
  const inside = RULES[data.rule](data);
  const outside = RULES[other.rule](other);
  return (step, steps) => (start <= step / steps && step / steps < stop ? inside : outside);
}

/** From one prediction towards the prompt's; at scale 1 and 0 one of the two is enough. */
function between(base, scale) {
  number("scale", scale);
  if (scale === 1) return RULES.conditional();
  if (scale === 0) return { needs: [base], map: (predictions) => predictions[base] };
  return { needs: [base, "cond"], map: (predictions) => classifierFree(predictions[base], predictions.cond, scale) };
}

function number(name, value) {
  if (!Number.isFinite(value)) throw new RangeError(`guidance.${name} must be a finite number, got ${value}`);
  return value;
}
