import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as ort from "onnxruntime-web/wasm";
import { beforeAll, describe, expect, test } from "vitest";
import { createEngine } from "../src/engine.mjs";
import { CLASSIC, aboutModel, filesOf, modelsOf } from "../src/family.mjs";
import { told } from "../src/told.mjs";
import { apart, golden } from "./golden.mjs";

const folder = process.env.FAMILY;
const manifest = JSON.parse(readFileSync(join(folder, "manifest.json")));
const FAST = "still-life-fast";
const start = (models) => {
  const files = new Map(filesOf(manifest, models).map(({ name, path }) => [name, new Uint8Array(readFileSync(join(folder, path)))]));
  return createEngine({ manifest, files, ort });
};
/**
 * What float32 may make of the first x0. A walk on a flow begins at sigma = .999, where the way from eps to x0 divides by
 * 1 - sigma (see FlowSchedule); x and eps are rounded once or twice on either side, and guidance multiplies what comes of it.
 */
const lost = ({ model, guidance: { scale } }, x) => {
  const times = model === FAST ? 1 : scale + Math.abs(1 - scale);
  return (4 * 2 ** -24 * Math.max(...x.map(Math.abs)) * times) / (1 - 0.999);
};
let engine;
beforeAll(async () => (engine = await start(modelsOf(manifest).filter((name) => name !== CLASSIC))), 120_000);

test.each(golden.family.pictures)(
  "$request.model, $request.numInferenceSteps steps, $request.guidance.rule: the picture of Python",
  async ({ request, latents, first_x0, timesteps, nfe, pictures }) => {
    const steps = [];
    for await (const step of engine.trajectory(request)) steps.push(step);
    const end = steps.at(-1);
    expect(apart(steps.map(({ t }) => t), timesteps)).toBeLessThan(4e-5); // Python tells them in float32
    expect(end.nfe).toBe(nfe);
    expect(apart(steps[0].x0, first_x0)).toBeLessThan(lost(request, steps[0].x_t));
    expect(apart(end.x_s, latents)).toBeLessThan(1e-3);
    const { data } = await engine.decode(end.x_s, request.numImages);
    const colours = data.filter((_, k) => k % 4 < 3);
    expect(apart(colours, pictures)).toBeLessThanOrEqual(3);
  },
  120_000,
);

test("each model has had its runs", () => {
  const seen = new Set(golden.family.pictures.map(({ request }) => request.model));
  expect([...seen].toSorted()).toEqual(modelsOf(manifest).filter((name) => name !== CLASSIC).toSorted());
});

describe("what a student is told", () => {
  const about = { waves: 16, width: 128, most: 6 };
  test.each(golden.told)("at scale $scale", ({ scale, states, told: wanted }) => {
    expect(apart(told(scale, states, about), wanted)).toBeLessThan(1e-6);
  });

  test("acts: scale and negative prompt change the picture", async () => {
    const last = async (more) => {
      let end;
      for await (const step of engine.trajectory({ model: FAST, prompt: "a sphere", numInferenceSteps: 1, ...more })) end = step;
      return end.x_s;
    };
    const plain = await last({ guidance: { rule: "classifier_free", scale: 2 } });
    for (const guidance of [{ rule: "classifier_free", scale: 5 }, { rule: "negative_prompt", scale: 2 }]) {
      expect(apart(await last({ guidance, negativePrompt: "red" }), plain)).toBeGreaterThan(1e-2);
    }
    expect(apart(await last({}), plain)).toBe(0); // as in Python, the scale is 2 where none is given
  });
});

describe("a student's refusals", () => {
  // Python's words, in the page's names and marks.
  const said = (message) =>
    message
      .replace("num_inference_steps", "numInferenceSteps")
      .replace("guidance_scale", "guidance.scale")
      .replace(/(is|allowed:) '([^']*)'/g, "$1 “$2”")
      .replace(/is (\d+)\.0;/, "is $1;");
  test.each(golden.refusals)("$message", async ({ request, message }) => {
    await expect(engine.trajectory({ model: FAST, prompt: "a cube", ...request }).next()).rejects.toThrow(said(message));
  });

  test.each([
    [{ guidance: { rule: "perp_neg", scale: 2 } }, /guidance.rule is “perp_neg”; allowed: “classifier_free” with still-life-fast/],
    [{ guidance: { rule: "classifier_free", scale: 2, start: 0.2, stop: 0.5 } }, /guidance.start is 0.2; allowed: none with/],
    [{ guidance: { rule: "classifier_free", scale: NaN } }, /guidance.scale is NaN; allowed: a number from 1 to 6/],
    [{ guidance: { rule: "classifier_free" } }, /guidance.scale is undefined/],
    [{ numInferenceSteps: "1" }, /numInferenceSteps is “1”; allowed: 1, 2 or 4/],
    [{ prompt: "a shpere" }, /shpere.*sphere/],
    [{ guidance: { rule: "negative_prompt", scale: 2 }, negativePrompt: "rde" }, /rde.*red/],
  ])("%o", async (request, message) => {
    await expect(engine.trajectory({ model: FAST, prompt: "a cube", ...request }).next()).rejects.toThrow(message);
  });
});

describe("the models of a manifest", () => {
  const file = (name) => ({ name, path: name, bytes: 1, sha256: "0".repeat(64) });
  const small = {
    files: ["text_encoder.onnx", "unet.onnx", "decoder.onnx"].map(file),
    prediction: "epsilon",
    schedule: { kind: "table" },
    models: { other: { files: [file("unet-other.onnx")], prediction: "flow", schedule: { kind: "flow" } } },
  };
  const names = (models) => filesOf(small, models).map(({ name }) => name);

  test("each loads what it needs", () => {
    expect(names()).toEqual(["text_encoder.onnx", "unet.onnx", "decoder.onnx"]);
    expect(names(["other"])).toEqual(["text_encoder.onnx", "decoder.onnx", "unet-other.onnx"]);
    expect(names([CLASSIC, "other", "other"])).toEqual(["text_encoder.onnx", "unet.onnx", "decoder.onnx", "unet-other.onnx"]);
    expect(aboutModel(small, "other")).toMatchObject({ unet: "unet-other.onnx", prediction: "flow" });
    expect(aboutModel(small, CLASSIC)).toMatchObject({ unet: "unet.onnx", prediction: "epsilon" });
    expect(() => names(["third"])).toThrow(/model is “third”; allowed: still-life, other/);
  });

  test("a model that was not loaded is refused by name", async () => {
    await expect(engine.trajectory({ prompt: "a cube" }).next()).rejects.toThrow(/model is “still-life”; allowed: still-life-f/);
    await expect(engine.trajectory({ model: "third", prompt: "a cube" }).next()).rejects.toThrow(/model is “third”/);
  });

  test("a further model is one file of at most 9.3 MB", () => {
    for (const { files } of Object.values(manifest.models)) {
      expect(files.length).toBe(1);
      expect(files[0].bytes).toBeLessThanOrEqual(9.3e6);
    }
  });
});
