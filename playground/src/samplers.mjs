// Samplers: the mirror of diffusion_tutorial/samplers.py. One function a step, a table of methods, and `walk`, a
// generator over the steps. Samples are typed arrays; results have the type of xT. Coefficients are doubles. Formulas
// and papers stand there.

import { allowed, checkChoice } from "./errors.mjs";

/**
 * What is known of a step before it is taken. `walk` makes it, once a step; denoisers and guidance rules read it.
 * @typedef {{ step: number, steps: number, t: number, alphaBar: number }} Moment
 * step counts from 0 to steps - 1; t is the timestep that the denoiser is asked about; alphaBar the level of its x.
 */

/** DDIM eq. 12 and 16: { xS, x0 }. eta in [0, 1]; noise is needed where sigma > 0. */
export function ddimStep(xT, eps, aT, aS, eta = 0, noise = null) {
  const x0 = predict(xT, eps, aT);
  const sigma = ddimSigma(aT, aS, eta);
  const [picture, direction] = [Math.sqrt(aS), Math.sqrt(Math.max(1 - aS - sigma ** 2, 0))];
  return { xS: addNoise(xT.map((_, k) => picture * x0[k] + direction * eps[k]), sigma, noise), x0 };
}

export function ddimSigma(aT, aS, eta) {
  if (!(eta >= 0 && eta <= 1)) throw new RangeError(allowed("eta", eta, "a number in [0, 1]"));
  return eta === 0 || aS === 1 ? 0 : eta * Math.sqrt(((1 - aS) / (1 - aT)) * (1 - aT / aS));
}

/** DDPM eq. 7: a draw from the posterior. variance is "small" or "large"; no noise at the last step. */
export function ddpmStep(xT, eps, aT, aS, noise = null, variance = "small") {
  const alpha = aT / aS;
  const beta = 1 - alpha;
  const x0 = predict(xT, eps, aT);
  const c0 = (Math.sqrt(aS) * beta) / (1 - aT);
  const cT = (Math.sqrt(alpha) * (1 - aS)) / (1 - aT);
  const sigma = aS === 1 ? 0 : Math.sqrt(variance === "large" ? beta : (beta * (1 - aS)) / (1 - aT));
  return { xS: addNoise(xT.map((x, k) => c0 * x0[k] + cT * x), sigma, noise), x0 };
}

/** Euler's method in u, or in u squared (DDIM eq. 15). */
export function eulerStep(xT, eps, aT, aS, variable = "u") {
  const [uT, uS] = [noiseLevel(aT), noiseLevel(aS)];
  const du = variable === "u" ? uS - uT : (uS ** 2 - uT ** 2) / (2 * uT);
  const [root, end] = [Math.sqrt(aT), Math.sqrt(aS)];
  return { xS: xT.map((x, k) => end * (x / root + du * eps[k])), x0: xT.map((x, k) => x / root - uT * eps[k]) };
}

/**
 * Heun's method (EDM algorithm 1); epsS is the denoiser's answer to Euler's xS. variable "u" averages dy/du = eps, "sigma"
 * the velocity eps - x0 of a straight-line flow.
 */
export function heunStep(xT, eps, aT, aS, epsS, variable = "u") {
  checkChoice("variable", variable, ["u", "sigma"]);
  const x0 = predict(xT, eps, aT);
  if (variable === "u") {
    const mean = eps.map((e, k) => (e + epsS[k]) / 2);
    return { xS: eulerStep(xT, mean, aT, aS).xS, x0 };
  }
  const x0S = predict(eulerStep(xT, eps, aT, aS).xS, epsS, aS);
  const [scaleT, scaleS] = [aT, aS].map((a) => 1 / (Math.sqrt(a) + Math.sqrt(1 - a))); // to the flow's own coordinates
  const dsigma = scaleS * Math.sqrt(1 - aS) - scaleT * Math.sqrt(1 - aT);
  return { xS: xT.map((x, k) => (scaleT * x + (dsigma * (eps[k] - x0[k] + epsS[k] - x0S[k])) / 2) / scaleS), x0 };
}

/** DPM-Solver++(2M), algorithm 2. Without a step before it, and at aS = 1, it is DDIM's. */
export function dpmSolverPP2MStep(xT, eps, aT, aS, x0Before = null, aBefore = null) {
  const x0 = predict(xT, eps, aT);
  if (aS === 1) return { xS: x0, x0 };
  const h = halfLogSnr(aS) - halfLogSnr(aT);
  const ahead = !x0Before ? 0 : h / (2 * (halfLogSnr(aT) - halfLogSnr(aBefore)));
  const keep = Math.sqrt((1 - aS) / (1 - aT));
  const pull = Math.sqrt(aS) * Math.expm1(-h);
  const d = !x0Before ? x0 : x0.map((x, k) => x + ahead * (x - x0Before[k]));
  return { xS: xT.map((x, k) => keep * x - pull * d[k]), x0 };
}

/** DPM-Solver++(3M) as in use: a parabola through three predictions. before: the last steps' [{ x0, a }], last first. */
export function dpmSolverPP3MStep(xT, eps, aT, aS, before = []) {
  if (before.length < 2 || aS === 1) return dpmSolverPP2MStep(xT, eps, aT, aS, before[0]?.x0, before[0]?.a);
  const [lam1, lam2] = before.map(({ a }) => halfLogSnr(a));
  const lam = halfLogSnr(aT);
  const h = halfLogSnr(aS) - lam;
  const x0 = predict(xT, eps, aT);
  const p1 = Math.expm1(-h);
  const p2 = p1 / h + 1;
  const p3 = p2 / h - 0.5;
  const [keep, end] = [Math.sqrt((1 - aS) / (1 - aT)), Math.sqrt(aS)];
  const xS = xT.map((x, k) => {
    const last = (x0[k] - before[0].x0[k]) / (lam - lam1);
    const bend = (last - (before[0].x0[k] - before[1].x0[k]) / (lam1 - lam2)) / (lam - lam2);
    return keep * x - end * (p1 * x0[k] - p2 * h * (last + (lam - lam1) * bend) + p3 * h * h * bend);
  });
  return { xS, x0 };
}

/** Euler ancestral: Euler's step to less noise than level s has, then fresh noise; the same map as ddpmStep, "small". */
export function eulerAncestralStep(xT, eps, aT, aS, noise = null) {
  const [uT, uS] = [noiseLevel(aT), noiseLevel(aS)];
  const up = uS * Math.sqrt(Math.max(1 - (uS / uT) ** 2, 0));
  const [root, end, du] = [Math.sqrt(aT), Math.sqrt(aS), uS ** 2 / uT - uT];
  const xS = xT.map((x, k) => end * (x / root + du * eps[k]));
  return { xS: addNoise(xS, end * up, noise), x0: xT.map((x, k) => x / root - uT * eps[k]) };
}

/** DPM-Solver++(2M) for the reverse SDE. Without a step before it, it is ddpmStep, "small". */
export function dpmSolverPPSdeStep(xT, eps, aT, aS, noise = null, x0Before = null, aBefore = null) {
  const x0 = predict(xT, eps, aT);
  if (aS === 1) return { xS: x0, x0 };
  const h = halfLogSnr(aS) - halfLogSnr(aT);
  const ahead = !x0Before ? 0 : h / (2 * (halfLogSnr(aT) - halfLogSnr(aBefore)));
  const kept = (aT * (1 - aS)) / ((1 - aT) * aS); // exp(-2h)
  const [keep, pull] = [Math.sqrt(((1 - aS) / (1 - aT)) * kept), Math.sqrt(aS) * (1 - kept)];
  const d = !x0Before ? x0 : x0.map((x, k) => x + ahead * (x - x0Before[k]));
  return { xS: addNoise(xT.map((x, k) => keep * x + pull * d[k]), Math.sqrt((1 - aS) * (1 - kept)), noise), x0 };
}

/** UniPC of order 2: x_t corrected by its own prediction, then 2M's step. before: as for dpmSolverPP3MStep. */
export function uniPCStep(xT, eps, aT, aS, before = []) {
  const x0 = predict(xT, eps, aT);
  let x = xT;
  if (before.length) {
    const [p, q] = before;
    const h = halfLogSnr(aT) - halfLogSnr(p.a);
    const pull = -Math.sqrt(aT) * Math.expm1(-h);
    const [root, noise] = [Math.sqrt(aT), Math.sqrt(1 - aT)];
    let [c1, c2] = [0, 1 / 2];
    if (q) {
      const r = (halfLogSnr(q.a) - halfLogSnr(p.a)) / h;
      const weight = -1 / Math.expm1(-h);
      const b1 = weight - 1 / h;
      const c = (weight - (2 * b1) / h - b1) / (r - 1);
      [c1, c2] = [(c - 1 / 2) / r, b1 - c];
    }
    x = xT.map((v, k) => v + pull * (c2 * (x0[k] - p.x0[k]) + (q ? c1 * (q.x0[k] - p.x0[k]) : 0)));
    eps = x.map((v, k) => (v - root * x0[k]) / noise);
  }
  return { xS: dpmSolverPP2MStep(x, eps, aT, aS, before[0]?.x0, before[0]?.a).xS, x0 };
}

/**
 * The methods, as diffusion_tutorial.samplers.SAMPLERS has them: title, stochastic (needs noise; DDIM does where eta > 0),
 * previous (how the next level is chosen, see schedule.mjs) and `step`, from what `walk` knows of a step to { xS, x0 }:
 *
 *   xT, eps, aT, aS, eta
 *   noise()      the step's noise
 *   before       [{ x0, a }] of up to two steps before this one, the last one first
 *   again(xS)    the denoiser's answer at the step's end, a second evaluation; a promise
 *   time         in which slopes are averaged, see heunStep
 */
export const SAMPLERS = {
  ddpm: { title: "DDPM, small variance", stochastic: true, previous: "grid", step: (k) => ddpm(k, "small") },
  "ddpm-large": { title: "DDPM, large variance", stochastic: true, previous: "grid", step: (k) => ddpm(k, "large") },
  ddim: { title: "DDIM", stochastic: false, previous: "stride", step: ddim },
  euler: { title: "Euler", stochastic: false, previous: "grid", step: ({ xT, eps, aT, aS }) => eulerStep(xT, eps, aT, aS) },
  "euler-u2": {
    title: "Euler in the squared noise level",
    stochastic: false,
    previous: "grid",
    step: ({ xT, eps, aT, aS }) => eulerStep(xT, eps, aT, aS, "u^2"),
  },
  heun: { title: "Heun", stochastic: false, previous: "grid", step: heun },
  "dpm++2m": {
    title: "DPM-Solver++(2M)",
    stochastic: false,
    previous: "grid",
    step: ({ xT, eps, aT, aS, before: [last] }) => dpmSolverPP2MStep(xT, eps, aT, aS, last?.x0, last?.a),
  },
  "dpm++3m": {
    title: "DPM-Solver++(3M)",
    stochastic: false,
    previous: "grid",
    step: ({ xT, eps, aT, aS, before }) => dpmSolverPP3MStep(xT, eps, aT, aS, before),
  },
  unipc: {
    title: "UniPC",
    stochastic: false,
    previous: "grid",
    step: ({ xT, eps, aT, aS, before }) => uniPCStep(xT, eps, aT, aS, before),
  },
  "euler-a": {
    title: "Euler ancestral",
    stochastic: true,
    previous: "grid",
    step: ({ xT, eps, aT, aS, noise }) => eulerAncestralStep(xT, eps, aT, aS, aS < 1 ? noise() : null),
  },
  "dpm++2m-sde": {
    title: "DPM-Solver++(2M) SDE",
    stochastic: true,
    previous: "grid",
    step: ({ xT, eps, aT, aS, noise, before: [last] }) =>
      dpmSolverPPSdeStep(xT, eps, aT, aS, aS < 1 ? noise() : null, last?.x0, last?.a),
  },
};

function ddim({ xT, eps, aT, aS, eta, noise }) {
  return ddimStep(xT, eps, aT, aS, eta, ddimSigma(aT, aS, eta) > 0 ? noise() : null);
}

function ddpm({ xT, eps, aT, aS, noise }, variance) {
  return ddpmStep(xT, eps, aT, aS, aS < 1 ? noise() : null, variance);
}

async function heun({ xT, eps, aT, aS, again, time }) {
  const first = eulerStep(xT, eps, aT, aS);
  return aS < 1 ? heunStep(xT, eps, aT, aS, await again(first.xS), time) : first; // at 1 no noise is left to predict
}

/**
 * Walk along transitions, one step at a time; stopping the iteration stops the work.
 * @param {(x, moment: Moment) => ArrayLike<number> | Promise<ArrayLike<number>>} denoiser
 * @param {(index: number) => ArrayLike<number>} noise for step `index`
 * @param {string} time in which "heun" averages slopes, "u" or "sigma": the schedule's
 * Yields { index, t, s, alphaBarT, alphaBarS, xT, eps, x0, xS, nfe }.
 */
export async function* walk(denoiser, xT, transitions, sampler = "ddim", eta = 0, noise = null, time = "u") {
  checkChoice("sampler", sampler, Object.keys(SAMPLERS));
  if (eta !== 0 && sampler !== "ddim") throw new RangeError(allowed("eta", eta, `0 with sampler ${sampler}; ddim alone has it`));
  const { step: take } = SAMPLERS[sampler];
  const steps = transitions.length;
  let [nfe, before] = [0, []];
  for (const [index, { t, s, alphaBarT: aT, alphaBarS: aS }] of transitions.entries()) {
    const ask = (x, moment) => {
      nfe++;
      return denoiser(x, moment);
    };
    const eps = await ask(xT, { step: index, steps, t, alphaBar: aT });
    const again = (xS) => ask(xS, { step: index + 1, steps, t: s, alphaBar: aS });
    const { xS, x0 } = await take({ xT, eps, aT, aS, eta, before, again, time, noise: () => noise(index) });
    before = [{ x0, a: aT }, ...before.slice(0, 1)];
    yield { index, t, s, alphaBarT: aT, alphaBarS: aS, xT, eps, x0, xS, nfe };
    xT = xS;
  }
}

function predict(xT, eps, aT) {
  const [root, noise] = [Math.sqrt(aT), Math.sqrt(1 - aT)];
  return xT.map((x, k) => (x - noise * eps[k]) / root);
}

function addNoise(mean, sigma, noise) {
  if (sigma === 0) return mean;
  if (!noise) throw new RangeError(`noise is missing: this step adds noise of standard deviation ${sigma}`);
  return mean.map((x, k) => x + sigma * noise[k]);
}

function noiseLevel(a) {
  return Math.sqrt((1 - a) / a);
}

function halfLogSnr(a) {
  return 0.5 * Math.log(a / (1 - a));
}
