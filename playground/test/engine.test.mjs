import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as ort from "onnxruntime-web/wasm";
import { beforeAll, expect, test } from "vitest";
import { createEngine } from "../src/engine.mjs";
import { apart, golden } from "./golden.mjs";

const folder = new URL("../build/", import.meta.url).pathname;
const manifest = JSON.parse(readFileSync(join(folder, "manifest.json")));
let engine;

beforeAll(async () => {
  const files = new Map(manifest.files.map(({ name, path }) => [name, new Uint8Array(readFileSync(join(folder, path)))]));
  engine = await createEngine({ manifest, files, ort });
}, 120_000);

test.each(golden.pictures)(
  "$request.sampler, $request.numInferenceSteps steps, $request.guidance.rule: the picture of Python",
  async ({ request, latents, first_x0, timesteps, nfe, pictures }) => {
    const steps = [];
    for await (const step of engine.trajectory(request)) steps.push(step);
    const end = steps.at(-1);
    expect(steps.map(({ t }) => t)).toEqual(timesteps);
    expect(end.nfe).toBe(nfe);
    expect(apart(steps[0].x0, first_x0) / Math.max(...first_x0.map(Math.abs))).toBeLessThan(1e-4);
    expect(apart(end.x_s, latents)).toBeLessThan(1e-3);
    const { data } = await engine.decode(end.x_s, request.numImages);
    const colours = data.filter((_, k) => k % 4 < 3);
    expect(apart(colours, pictures)).toBeLessThanOrEqual(3);
  },
  120_000,
);

test("stopping the iteration stops the work", async () => {
  let steps = 0;
  for await (const { index } of engine.trajectory({ prompt: "a cube", numInferenceSteps: 1000 })) {
    steps++;
    if (index === 1) break;
  }
  expect(steps).toBe(2);
});

test.each([
  [{ prompt: "a shpere" }, /shpere.*sphere/],
  [{ prompt: "a cube", numInferenceSteps: 0 }, /numInferenceSteps/],
  [{ prompt: "a cube", numInferenceSteps: 2.5 }, /numInferenceSteps/],
  [{ prompt: "a cube", sampler: "dimm" }, /dimm/],
  [{ prompt: "a cube", spacing: "wide" }, /wide/],
  [{ prompt: "a cube", seed: -1 }, /seed/],
])("a bad request is named: %o", async (request, message) => {
  await expect(engine.trajectory({ numInferenceSteps: 2, ...request }).next()).rejects.toThrow(message);
});
