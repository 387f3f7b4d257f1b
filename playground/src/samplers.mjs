// Samplers: the mirror of diffusion_tutorial/samplers.py. One function a step, and `walk`, a generator over the steps.
// Samples are typed arrays; results have the type of xT. Coefficients are doubles. Formulas and papers stand there.

export const SAMPLERS = {
  ddpm: { stochastic: true, previous: "grid" },
  "ddpm-large": { stochastic: true, previous: "grid" },
  ddim: { stochastic: false, previous: "stride" },
  euler: { stochastic: false, previous: "grid" },
  "euler-u2": { stochastic: false, previous: "grid" },
  heun: { stochastic: false, previous: "grid" },
  "dpm++2m": { stochastic: false, previous: "grid" },
  "dpm++3m": { stochastic: false, previous: "grid" },
};

/** DDIM eq. 12 and 16: { xS, x0 }. eta in [0, 1]; noise is needed where sigma > 0. */
export function ddimStep(xT, eps, aT, aS, eta = 0, noise = null) {
  const x0 = predict(xT, eps, aT);
  const sigma = ddimSigma(aT, aS, eta);
  const [picture, direction] = [Math.sqrt(aS), Math.sqrt(Math.max(1 - aS - sigma ** 2, 0))];
  return { xS: addNoise(xT.map((_, k) => picture * x0[k] + direction * eps[k]), sigma, noise), x0 };
}

export function ddimSigma(aT, aS, eta) {
  if (!(eta >= 0 && eta <= 1)) throw new RangeError(`eta must lie in [0, 1], got ${eta}`);
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

/** Heun's method (EDM algorithm 1); epsS is the denoiser's answer to Euler's xS. */
export function heunStep(xT, eps, aT, aS, epsS) {
  const mean = eps.map((e, k) => (e + epsS[k]) / 2);
  return { xS: eulerStep(xT, mean, aT, aS).xS, x0: predict(xT, eps, aT) };
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

/**
 * Walk along transitions, one step at a time; stopping the iteration stops the work.
 * @param denoiser (x, t) => eps, or a promise of it
 * @param {(index: number) => ArrayLike<number>} noise for step `index`
 * Yields { index, t, s, alphaBarT, alphaBarS, xT, eps, x0, xS, nfe }.
 */
export async function* walk(denoiser, xT, transitions, sampler = "ddim", eta = 0, noise = null) {
  if (!(sampler in SAMPLERS)) throw new RangeError(`sampler must be one of ${Object.keys(SAMPLERS).join(", ")}, got ${sampler}`);
  if (eta !== 0 && sampler !== "ddim") throw new RangeError(`eta is for ddim alone, got ${eta} with ${sampler}`);
  let [nfe, before] = [0, []];
  for (const [index, { t, s, alphaBarT: aT, alphaBarS: aS }] of transitions.entries()) {
    const eps = await denoiser(xT, t);
    nfe++;
    let step;
    if (sampler === "ddim") step = ddimStep(xT, eps, aT, aS, eta, ddimSigma(aT, aS, eta) > 0 ? noise(index) : null);
    else if (sampler === "ddpm" || sampler === "ddpm-large") {
      step = ddpmStep(xT, eps, aT, aS, aS < 1 ? noise(index) : null, sampler === "ddpm" ? "small" : "large");
    } else if (sampler.startsWith("dpm++")) {
      step = sampler === "dpm++2m" ? dpmSolverPP2MStep(xT, eps, aT, aS, before[0]?.x0, before[0]?.a) : dpmSolverPP3MStep(xT, eps, aT, aS, before);
      before = [{ x0: step.x0, a: aT }, ...before.slice(0, 1)];
    } else {
      step = eulerStep(xT, eps, aT, aS, sampler === "euler-u2" ? "u^2" : "u");
      if (sampler === "heun" && aS < 1) {
        step = heunStep(xT, eps, aT, aS, await denoiser(step.xS, s));
        nfe++;
      }
    }
    yield { index, t, s, alphaBarT: aT, alphaBarS: aS, xT, eps, x0: step.x0, xS: step.xS, nfe };
    xT = step.xS;
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
