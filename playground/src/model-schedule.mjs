// The model's own levels, as playground/export.py wrote them into the manifest: a table, or those of a straight-line flow.

import { allowed, checkChoice } from "./errors.mjs";
import { NoiseSchedule, SPACINGS, checkSteps, linspace } from "./schedule.mjs";

const SIGMA_MAX = 0.999; // where a walk starts in place of 1

const KINDS = {
  table: ({ alphas_cumprod: levels, final_alpha_cumprod: final, ...visits }) => new NoiseSchedule(levels, { final, ...visits }),
  flow: ({ num_train_timesteps: numTrainTimesteps, ...more }) => new FlowSchedule({ numTrainTimesteps, ...more }),
};

/** The schedule of a manifest's entry. */
export function scheduleOf({ kind, steps_offset: stepsOffset, ...levels }) {
  return KINDS[checkChoice("the schedule's kind", kind, Object.keys(KINDS))]({ stepsOffset, ...levels });
}

/**
 * The mirror of FlowSchedule in diffusion_tutorial/schedules.py: a flow's levels in the coordinates of every sampler.
 * Formulas and reasons stand there.
 */
export class FlowSchedule {
  time = "sigma"; // in which Heun's method averages slopes

  constructor({ shift = 1, numTrainTimesteps = 1000, spacing = "trailing", stepsOffset = 1 } = {}) {
    if (!(shift > 0 && shift < Infinity)) throw new RangeError(allowed("shift", shift, "a finite number above 0"));
    if (!Number.isInteger(numTrainTimesteps) || numTrainTimesteps < 2) {
      throw new RangeError(allowed("numTrainTimesteps", numTrainTimesteps, "an integer of 2 or more"));
    }
    this.shift = shift;
    this.numTrainTimesteps = numTrainTimesteps;
    this.spacing = checkChoice("spacing", spacing, SPACINGS);
    this.stepsOffset = stepsOffset;
  }

  /** The timesteps of a run, descending; they need not be whole. */
  timesteps(numInferenceSteps, spacing = this.spacing, stepsOffset = this.stepsOffset) {
    const [n, total] = [checkSteps(numInferenceSteps, this.numTrainTimesteps), this.numTrainTimesteps];
    checkChoice("spacing", spacing, SPACINGS);
    const sigmas = this.#even(n, spacing, stepsOffset).map((sigma) => this.#shifted(sigma));
    if (sigmas[0] > SIGMA_MAX) sigmas[0] = Math.max(SIGMA_MAX, (sigmas[0] + (sigmas[1] ?? 0)) / 2);
    return sigmas.map((sigma) => sigma * total);
  }

  /** Steps from the noisiest down: { t, s, alphaBarT, alphaBarS }. Each ends where the next begins, the last at 1. */
  transitions(numInferenceSteps, spacing, stepsOffset) {
    const steps = this.timesteps(numInferenceSteps, spacing, stepsOffset);
    return steps.map((t, k) => {
      const s = steps[k + 1] ?? null;
      return { t, s, alphaBarT: this.#alphaBar(t), alphaBarS: s === null ? 1 : this.#alphaBar(s) };
    });
  }

  /** sigma before the shift, descending. */
  #even(n, spacing, stepsOffset) {
    const total = this.numTrainTimesteps;
    if (spacing === "linspace") return linspace(1, this.#shifted(1 / total), n);
    const counts = Array.from({ length: n }, (_, k) => k);
    if (spacing === "trailing") return counts.map((k) => (n - k) / n);
    const stride = Math.floor(total / n);
    const offset = Math.min(stepsOffset, total - (n - 1) * stride);
    return counts.map((k) => (k * stride + offset) / total).reverse();
  }

  #shifted(sigma) {
    return (this.shift * sigma) / (this.shift * sigma + (1 - sigma));
  }

  #alphaBar(t) {
    const sigma = t / this.numTrainTimesteps;
    return (1 - sigma) ** 2 / ((1 - sigma) ** 2 + sigma ** 2);
  }
}
