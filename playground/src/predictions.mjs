// What a network predicts, and its way to the noise: the mirror of diffusion_tutorial/predictions.py. Samplers and rules
// know eps alone, in x = sqrt(alphaBar) x0 + sqrt(1 - alphaBar) eps. Names are diffusers' prediction types.
//
//   input(x, alphaBar)           what the network is given
//   eps(output, x, alphaBar)     the noise that its output stands for

export const PREDICTIONS = {
  /** The noise itself (Ho et al. 2020). */
  epsilon: { input: (x) => x, eps: (output) => output },

  /** v = sqrt(alphaBar) eps - sqrt(1 - alphaBar) x0 (Salimans and Ho 2022, appendix D). */
  v_prediction: {
    input: (x) => x,
    eps: (v, x, alphaBar) => {
      const [signal, noise] = [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
      return v.map((value, k) => signal * value + noise * x[k]);
    },
  },

  /**
   * The velocity F = eps - x0 of a straight line, told in its own coordinates (Liu et al. 2023; Lipman et al. 2023):
   * y = (1 - sigma) x0 + sigma eps, which is x / (signal + noise) with sigma = noise / (signal + noise), and so
   * eps = y + (1 - sigma) F.
   */
  flow: {
    input: (x, alphaBar) => {
      const { total } = line(alphaBar);
      return x.map((value) => value / total);
    },
    eps: (velocity, x, alphaBar) => {
      const { total, sigma } = line(alphaBar);
      return velocity.map((value, k) => x[k] / total + (1 - sigma) * value);
    },
  },
};

/** sigma of a level, and signal + noise, by which x is divided to stand on the straight line. */
function line(alphaBar) {
  const [signal, noise] = [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
  return { total: signal + noise, sigma: noise / (signal + noise) };
}
