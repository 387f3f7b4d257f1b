// Noise levels: the mirror of diffusion_tutorial/schedules.py. Coefficients are doubles, as there.

import { allowed, checkChoice } from "./errors.mjs";

export const SPACINGS = ["leading", "linspace", "trailing"];

/** A table of alpha_bar, and which of its levels a sampler visits. */
export class NoiseSchedule {
  time = "u"; // in which Heun's method averages slopes

  /**
   * @param {ArrayLike<number>} alphasCumprod in (0, 1], falling, the noisiest last
   * @param final what DDIM takes as alpha_bar behind the last step
   */
  constructor(alphasCumprod, { final = 1, spacing = "leading", stepsOffset = 0 } = {}) {
    this.alphasCumprod = Float64Array.from(alphasCumprod);
    const falls = this.alphasCumprod.every((level, k, all) => level > 0 && level <= (k ? all[k - 1] : 1));
    if (!this.alphasCumprod.length || !falls) throw new RangeError(allowed("alphasCumprod", "not such a table", "falling numbers in (0, 1], at least one"));
    this.finalAlphaCumprod = final;
    this.spacing = checkChoice("spacing", spacing, SPACINGS);
    this.stepsOffset = stepsOffset;
  }

  /** Betas evenly spaced (Ho et al. 2020, section 4). */
  static linear(n = 1000, start = 1e-4, end = 0.02, options = {}) {
    let product = 1;
    return new NoiseSchedule(linspace(start, end, n).map((beta) => (product *= 1 - beta)), options);
  }

  get numTrainTimesteps() {
    return this.alphasCumprod.length;
  }

  /** The timesteps of a run, descending: diffusers' choice (Lin et al. 2023, table 2). */
  timesteps(numInferenceSteps, spacing = this.spacing, stepsOffset = this.stepsOffset) {
    const [n, total] = [checkSteps(numInferenceSteps, this.numTrainTimesteps), this.numTrainTimesteps];
    checkChoice("spacing", spacing, SPACINGS);
    const counts = Array.from({ length: n }, (_, k) => k);
    if (spacing === "leading") {
      const stride = Math.floor(total / n);
      const offset = Math.min(stepsOffset, total - 1 - (n - 1) * stride);
      return counts.map((k) => k * stride + offset).reverse();
    }
    if (spacing === "linspace") return counts.map((k) => roundEven(n === 1 ? 0 : k * ((total - 1) / (n - 1)))).reverse();
    return counts.map((k) => roundEven(total - (k * total) / n) - 1);
  }

  /** Steps from the noisiest down: { t, s, alphaBarT, alphaBarS }; previous is "stride" (DDIM) or "grid". */
  transitions(numInferenceSteps, spacing, stepsOffset, previous = "stride") {
    checkChoice("previous", previous, ["stride", "grid"]);
    const steps = this.timesteps(numInferenceSteps, spacing, stepsOffset);
    const stride = Math.floor(this.numTrainTimesteps / numInferenceSteps);
    const final = previous === "grid" ? 1 : this.finalAlphaCumprod;
    return steps.map((t, k) => {
      const s = previous === "grid" ? (steps[k + 1] ?? null) : t >= stride ? t - stride : null;
      return { t, s, alphaBarT: this.alphasCumprod[t], alphaBarS: s === null ? final : this.alphasCumprod[s] };
    });
  }
}

/** A number of steps, or a RangeError unless the table has so many. */
export function checkSteps(n, total) {
  if (!Number.isInteger(n) || n < 1 || n > total) throw new RangeError(allowed("numInferenceSteps", n, `an integer in [1, ${total}]`));
  return n;
}

export function linspace(start, end, n) {
  const step = n > 1 ? (end - start) / (n - 1) : 0;
  // From both ends, as torch does it.
  return Array.from({ length: n }, (_, k) => (k < n / 2 ? start + step * k : end - step * (n - 1 - k)));
}

/** To the nearest integer, halves to the even one, as numpy rounds. */
function roundEven(x) {
  const below = Math.floor(x);
  const rest = x - below;
  return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1;
}
