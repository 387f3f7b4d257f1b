// What a network predicts, and its way to the noise: the mirror of diffusion_tutorial/predictions.py. Samplers and rules
// know eps alone, in x = sqrt(alphaBar) x0 + sqrt(1 - alphaBar) eps. Names are diffusers' prediction types.
//
//   networkInput(x, alphaBar)      what the network is shown
//   toEps(output, x, alphaBar)     the noise that its output stands for

export const PREDICTIONS = {
  /** The noise itself (Ho et al. 2020). */
  epsilon: { networkInput: (x) => x, toEps: (output) => output },

  /** v = sqrt(alphaBar) eps - sqrt(1 - alphaBar) x0 (Salimans and Ho 2022, appendix D). */
  v_prediction: {
    networkInput: (x) => x,
    toEps: (v, x, alphaBar) => {
      const [signal, noise] = roots(alphaBar);
      return v.map((value, k) => signal * value + noise * x[k]);
    },
  },

  /**
   * The velocity eps - x0 of a straight line from the picture to the noise, told on that line: c x, a point of it.
   * c = 1 / (signal + noise), so c signal = 1 - sigma and c noise = sigma.
   */
  flow: {
    networkInput: (x, alphaBar) => {
      const [signal, noise] = roots(alphaBar);
      return x.map((value) => value / (signal + noise));
    },
    toEps: (velocity, x, alphaBar) => {
      const [signal, noise] = roots(alphaBar);
      return velocity.map((value, k) => (x[k] + signal * value) / (signal + noise));
    },
  },
};

/** How much of the picture, and of the noise, a level holds. */
function roots(alphaBar) {
  return [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
}
