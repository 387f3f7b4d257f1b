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

/**
 * eps_uncond + s (d_pos - w d_perp), d_perp the part of d_neg at right angles to d_pos in each of `rows` rows, with
 * d_pos = eps_pos - eps_uncond and d_neg = eps_neg - eps_uncond (Perp-Neg, Armandpour et al. 2023, section 4).
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
  conditional: () => ({ needs: ["cond"], map: ({ cond }) => cond }),
  unconditional: () => ({ needs: ["uncond"], map: ({ uncond }) => uncond }),
  classifier_free: ({ scale }) => between("uncond", scale),
  negative_prompt: ({ scale }) => between("neg", scale),
  three_branch: ({ lambdaPos, lambdaNeg }) => ({
    needs: ["uncond", "cond", "neg"],
    map: ({ uncond, cond, neg }) => threeBranch(uncond, cond, neg, number("lambdaPos", lambdaPos), number("lambdaNeg", lambdaNeg)),
  }),
  perp_neg: ({ scale, weight = 1 }) => ({
    needs: ["uncond", "cond", "neg"],
    map: ({ uncond, cond, neg }, rows) => perpendicularNegative(uncond, cond, neg, number("scale", scale), number("weight", weight), rows),
  }),
};

/**
 * A rule from plain data: { rule: "classifier_free", scale } and so on, see RULES; with start and stop, fractions of the
 * run, it holds while start <= step / steps < stop, and elsewhere data.outside does, by default the prompt's prediction
 * alone. `map` takes the predictions of `rows` pictures, one picture after the other, by default of one.
 * @returns {(step: number, steps: number) => { needs: string[], map: (predictions, rows?: number) => ArrayLike<number> }}
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
