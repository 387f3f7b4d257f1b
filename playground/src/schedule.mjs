// Noise levels: the mirror of diffusion_tutorial/schedules.py. Coefficients are doubles, as there.

export const SPACINGS = ["leading", "linspace", "trailing"];

/** A table of alpha_bar, and which of its levels a sampler visits. */
export class NoiseSchedule {
  /** @param {number[]} betas in (0, 1], the noisiest last */
  constructor(betas, { setAlphaToOne = true, spacing = "leading", stepsOffset = 0 } = {}) {
    if (!betas.length || betas.some((beta) => !(beta > 0 && beta <= 1))) {
      throw new RangeError("betas must be numbers in (0, 1], and at least one");
    }
    checkChoice("spacing", spacing, SPACINGS);
    let product = 1;
    this.alphasCumprod = Float64Array.from(betas, (beta) => (product *= 1 - beta));
    this.finalAlphaCumprod = setAlphaToOne ? 1 : this.alphasCumprod[0];
    this.spacing = spacing;
    this.stepsOffset = stepsOffset;
  }

  /** Betas evenly spaced (Ho et al. 2020, section 4). */
  static linear(n = 1000, start = 1e-4, end = 0.02, options = {}) {
    return new NoiseSchedule(linspace(start, end, n), options);
  }

  /** Square roots of betas evenly spaced (Rombach et al. 2022). */
  static scaledLinear(n = 1000, start = 0.00085, end = 0.012, options = {}) {
    return new NoiseSchedule(linspace(Math.sqrt(start), Math.sqrt(end), n).map((root) => root ** 2), options);
  }

  /** The schedule that a diffusers scheduler with this config uses. */
  static fromConfig(config) {
    const options = {
      setAlphaToOne: config.set_alpha_to_one ?? true,
      spacing: config.timestep_spacing ?? "leading",
      stepsOffset: config.steps_offset ?? 0,
    };
    const families = { linear: NoiseSchedule.linear, scaled_linear: NoiseSchedule.scaledLinear };
    const family = families[checkChoice("beta_schedule", config.beta_schedule, Object.keys(families))];
    return family(config.num_train_timesteps ?? 1000, config.beta_start ?? 1e-4, config.beta_end ?? 0.02, options);
  }

  get numTrainTimesteps() {
    return this.alphasCumprod.length;
  }

  /** The timesteps of a run, descending: diffusers' choice (Lin et al. 2023, table 2). */
  timesteps(numInferenceSteps, spacing = this.spacing, stepsOffset = this.stepsOffset) {
    const [n, total] = [numInferenceSteps, this.numTrainTimesteps];
    if (!Number.isInteger(n) || n < 1 || n > total) throw new RangeError(`numInferenceSteps must be an integer in [1, ${total}], got ${n}`);
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

function linspace(start, end, n) {
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

function checkChoice(name, value, allowed) {
  if (!allowed.includes(value)) throw new RangeError(`${name} must be one of ${allowed.join(", ")}, got ${value}`);
  return value;
}
