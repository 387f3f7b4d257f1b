// The engine: Still Life on onnxruntime's WebAssembly. The mirror of TextToImage.sample: the same request gives the
// same picture as in Python. It knows nothing of pages and workers.

import { allowed, checkChoice } from "./errors.mjs";
import { CLASSIC, aboutModel, modelsOf } from "./family.mjs";
import { guided, ruleOf } from "./guidance.mjs";
import { scheduleOf } from "./model-schedule.mjs";
import { gaussian } from "./noise.mjs";
import { PREDICTIONS } from "./predictions.mjs";
import { SAMPLERS, walk } from "./samplers.mjs";
import { studentsRequest, told } from "./told.mjs";
import { encode } from "./tokenizer.mjs";

const DECODE_ROWS = 8; // pictures a call of the decoder
const VERSION = 3; // of the manifest

/**
 * @param manifest what playground/export.py wrote
 * @param {Map<string, Uint8Array>} files its files by name, those of the models that will be asked for (family.mjs)
 * @param ort onnxruntime-web's module; by default the one among the files, checked like all of them
 */
export async function createEngine({ manifest, files, ort = null }) {
  if (manifest.version !== VERSION) throw new RangeError(allowed("the model's version", manifest.version, `${VERSION}; reload the page`));
  const addresses = ort ? [] : await runtimeAddresses(files);
  try {
    const [program, mjs, wasm] = addresses;
    const runtime = ort ?? (await import(program));
    if (wasm) runtime.env.wasm.wasmPaths = { mjs, wasm }; // both are asked for with the first session
    runtime.env.wasm.numThreads = 1;
    const sessions = {};
    const unets = modelsOf(manifest).map((name) => aboutModel(manifest, name).unet);
    for (const name of ["text_encoder.onnx", "decoder.onnx", ...unets]) {
      const options = { executionProviders: ["wasm"], graphOptimizationLevel: "all" };
      if (files.has(name)) sessions[name] = await runtime.InferenceSession.create(files.get(name), options);
    }
    return new Engine(manifest, sessions, runtime.Tensor);
  } finally {
    addresses.forEach((address) => URL.revokeObjectURL(address));
  }
}

class Engine {
  #states = new Map();
  #models = new Map(); // by name: { session, schedule, prediction, told }

  constructor(manifest, sessions, Tensor) {
    this.manifest = manifest;
    this.sessions = sessions;
    this.Tensor = Tensor;
    this.shape = manifest.latent_shape;
    this.numbers = this.shape.reduce((product, size) => product * size, 1);
    for (const name of modelsOf(manifest)) {
      const { unet, prediction: kind, schedule, told: about } = aboutModel(manifest, name);
      const prediction = PREDICTIONS[checkChoice("the model's prediction", kind, Object.keys(PREDICTIONS))];
      if (sessions[unet]) this.#models.set(name, { session: sessions[unet], schedule: scheduleOf(schedule), prediction, told: about });
    }
  }

  /**
   * The steps of a run, one at a time; stopping the iteration stops the work.
   * @param request { model = "still-life", prompt, negativePrompt = "", numInferenceSteps = 20, sampler = "ddim", eta = 0,
   *   spacing, seed = 0, numImages = 1, guidance = { rule: "classifier_free", scale: 4 } }. A student takes less of it,
   *   see told.mjs.
   * Yields { index, t, x_t, x0, x_s, nfe }, Float32Arrays of numImages latents each.
   */
  async *trajectory(request) {
    const name = checkChoice("model", request.model ?? CLASSIC, [...this.#models.keys()]);
    const model = this.#models.get(name);
    const few = model.told && studentsRequest(request, model.told, { name, spacing: model.schedule.spacing });
    const { prompt, negativePrompt = "", sampler = "ddim", eta = 0, spacing, seed = 0, numImages = 1 } = request;
    const { numInferenceSteps = 20, guidance = { rule: "classifier_free", scale: 4 } } = few ? { ...few, guidance: { rule: "conditional" } } : request;
    const { previous } = SAMPLERS[checkChoice("sampler", sampler, Object.keys(SAMPLERS))];
    const transitions = model.schedule.transitions(numInferenceSteps, spacing, undefined, previous);
    const rule = ruleOf(guidance);
    const texts = { uncond: "", cond: prompt, neg: few ? few.negative : negativePrompt };
    const states = {};
    for (const [branch, text] of Object.entries(texts)) {
      states[branch] = await this.#encode(text, branch === "neg" ? "negativePrompt" : "prompt");
    }
    const extra = few && told(few.scale, states.neg, model.told);
    const predict = (x, moment, branches) => this.#predict(model, x, moment, branches, states, numImages, extra);
    const denoiser = guided(rule, predict, numImages);
    const start = gaussian(numImages, this.numbers, seed);
    const noise = (index) => gaussian(numImages, this.numbers, seed, index + 1);
    for await (const step of walk(denoiser, start, transitions, sampler, eta, noise, model.schedule.time)) {
      yield { index: step.index, t: step.t, x_t: step.xT, x0: step.x0, x_s: step.xS, nfe: denoiser.nfe };
    }
  }

  /** Pictures of `count` latents: { width, height, data }, data RGBA bytes, one picture after the other. */
  async decode(latents, count) {
    let [width, height, data] = [0, 0, null];
    for (let first = 0; first < count; first += DECODE_ROWS) {
      const rows = Math.min(DECODE_ROWS, count - first);
      const part = latents.slice(first * this.numbers, (first + rows) * this.numbers);
      const { pictures } = await this.sessions["decoder.onnx"].run({ latents: this.#tensor(part, [rows, ...this.shape]) });
      [, , height, width] = pictures.dims;
      data ??= new Uint8ClampedArray(count * height * width * 4);
      paint(data, pictures.data, first, rows, height * width);
      pictures.dispose();
    }
    return { width, height, data };
  }

  async dispose() {
    await Promise.all(Object.values(this.sessions).map((session) => session.release()));
  }

  /** One call of the U-Net for all branches: eps by branch. extra: what a student is told of guidance. */
  async #predict({ session, prediction }, x, { t, alphaBar }, branches, states, count, extra) {
    const rows = branches.length * count;
    const many = new Float32Array(rows * this.numbers);
    const words = states.cond.length;
    const said = new Float32Array(rows * words);
    const given = prediction.networkInput(x, alphaBar);
    branches.forEach((branch, k) => {
      many.set(given, k * x.length);
      for (let row = 0; row < count; row++) said.set(states[branch], (k * count + row) * words);
    });
    const { length } = this.manifest.tokens;
    const inputs = {
      x_t: this.#tensor(many, [rows, ...this.shape]),
      t: this.#tensor(new Float32Array(rows).fill(t), [rows]),
      states: this.#tensor(said, [rows, length, words / length]),
    };
    if (extra) {
      const each = Float32Array.from({ length: rows * extra.length }, (_, k) => extra[k % extra.length]);
      inputs.told = this.#tensor(each, [rows, extra.length]);
    }
    const { output } = await session.run(inputs);
    const part = (k) => output.data.slice(k * x.length, (k + 1) * x.length);
    const found = Object.fromEntries(branches.map((branch, k) => [branch, prediction.toEps(part(k), x, alphaBar)]));
    output.dispose();
    return found;
  }

  /** The text encoder's states of one text, kept for the next run. */
  async #encode(text, field) {
    if (!this.#states.has(text)) {
      const ids = encode(text, this.manifest.tokens, field);
      const input = new this.Tensor("int64", ids, [1, ids.length]);
      const { states } = await this.sessions["text_encoder.onnx"].run({ ids: input });
      this.#states.set(text, states.data.slice());
      states.dispose();
    }
    return this.#states.get(text);
  }

  #tensor(data, dims) {
    return new this.Tensor("float32", data, dims);
  }
}

/** Planes of red, green and blue in [0, 1] to RGBA bytes. */
function paint(data, planes, first, rows, size) {
  for (let row = 0; row < rows; row++) {
    for (let k = 0; k < size; k++) {
      const at = 4 * ((first + row) * size + k);
      for (let colour = 0; colour < 3; colour++) data[at + colour] = Math.round(255 * planes[(3 * row + colour) * size + k]);
      data[at + 3] = 255;
    }
  }
}

/** Addresses of the runtime's program, of the program that starts the wasm, and of the wasm, all from bytes that were checked. */
async function runtimeAddresses(files) {
  const address = (bytes, type) => URL.createObjectURL(new Blob([bytes], { type }));
  return [
    address(files.get("ort.mjs"), "text/javascript"),
    address(files.get("ort.glue.mjs"), "text/javascript"),
    address(await inflated(files.get("ort.wasm.gz")), "application/wasm"),
  ];
}

/** The bytes, inflated if they are gzip's. A server may have done that already. */
async function inflated(bytes) {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
