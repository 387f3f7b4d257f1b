// A lane: one run of the sampler, and its place on the stage.

/**
 * { key, label, request, film, name, text }: its place and what is written there; what the engine's `trajectory` takes;
 * whether the way there is wanted too; what makes two lanes the same work; the sentence that says what it is. model: its
 * name, unless it is the classic.
 */
export function lane(key, label, s, guidance, { count = 1, film = false, model } = {}) {
  const eta = s.sampler === "ddim" ? s.eta : 0;
  const asksNegative = guidance.rule !== "classifier_free";
  const request = {
    prompt: s.prompt,
    negativePrompt: asksNegative ? s.negative : "",
    numInferenceSteps: s.steps,
    sampler: s.sampler,
    eta,
    spacing: s.spacing,
    seed: s.seed,
    numImages: count,
    guidance,
    ...(model ? { model } : {}),
  };
  return { key, label, request, film, name: JSON.stringify([request, film]), text: describe(request) };
}

/** The settings in one line, as the notebooks' widgets write it. */
export function describe({ prompt, negativePrompt, numInferenceSteps, sampler, eta, spacing, seed, guidance, model }) {
  const negative = negativePrompt ? `, not “${negativePrompt}”` : "";
  const chance = eta ? `, eta ${eta}` : "";
  const levels = spacing === undefined || spacing === "leading" ? "" : `, ${spacing}`; // undefined: the model's own
  const by = model ? ` with ${model}` : "";
  const count = numInferenceSteps === 1 ? "1 step" : `${numInferenceSteps} steps`;
  const three = guidance.rule === "three_branch";
  const scale = three ? `weights ${guidance.lambdaPos} and ${guidance.lambdaNeg}` : `guidance ${guidance.scale}`;
  const kind = guidance.rule === "perp_neg" ? " by Perp-Neg" : "";
  const within = guidance.stop === undefined ? "" : ` from ${share(guidance.start)} to ${share(guidance.stop)} of the run`;
  return `“${prompt}”${negative}: ${count} of ${sampler}${by}${chance}${levels}, ${scale}${kind}${within}, seed ${seed}`;
}

/** A share of the run, as it is written. */
export function share(x) {
  return Number(x.toFixed(3));
}
