// The models of the family in a manifest: which files each needs, and what is known of it. The classic's entries are the
// manifest's own; each further model, under `models`, shares all of the classic's files but the U-Net.

import { allowed } from "./errors.mjs";

export const CLASSIC = "still-life";
const CLASSIC_UNET = "unet.onnx";

/** The names of a manifest's models. */
export function modelsOf(manifest) {
  return [CLASSIC, ...Object.keys(manifest.models ?? {})];
}

/** The files that the named models need, none twice. */
export function filesOf(manifest, models = [CLASSIC]) {
  for (const name of models) checkModel(manifest, name);
  const shared = manifest.files.filter(({ name }) => name !== CLASSIC_UNET || models.includes(CLASSIC));
  const own = models.filter((name) => name !== CLASSIC).flatMap((name) => manifest.models[name].files);
  return [...shared, ...new Set(own)];
}

/** { unet, prediction, schedule, told }: the file of the U-Net, and what playground/export.py says of the model. */
export function aboutModel(manifest, name) {
  checkModel(manifest, name);
  const { files, prediction, schedule, told } = name === CLASSIC ? { ...manifest, files: [{ name: CLASSIC_UNET }] } : manifest.models[name];
  return { unet: files[0].name, prediction, schedule, told };
}

function checkModel(manifest, name) {
  const names = modelsOf(manifest);
  if (!names.includes(name)) throw new RangeError(allowed("model", name, names.join(", ")));
}
