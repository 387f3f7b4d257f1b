import { describe, expect, test } from "vitest";
import * as captions from "../src/captions.mjs";
import { ruleOf } from "../src/guidance.mjs";
import { eps, ring } from "../src/mixture.mjs";
import { gaussian } from "../src/noise.mjs";
import { SAMPLERS, ddimStep, walk } from "../src/samplers.mjs";
import { NoiseSchedule } from "../src/schedule.mjs";
import { UnknownWordError, encode } from "../src/tokenizer.mjs";
import { apart, golden } from "./golden.mjs";

const linear = NoiseSchedule.linear();

describe("samplers", () => {
  test.each(golden.walks)("$sampler, $steps steps, $spacing, eta $eta", async ({ sampler, steps, spacing, eta, x, nfe }) => {
    const blobs = ring();
    const transitions = linear.transitions(steps, spacing, undefined, SAMPLERS[sampler].previous);
    const denoiser = (points, t) => eps(blobs, points, linear.alphasCumprod[t]);
    const noise = (k) => Float64Array.from(gaussian(4, 2, 11, k + 1));
    let end;
    for await (const step of walk(denoiser, Float64Array.from(gaussian(4, 2, 11)), transitions, sampler, eta, noise)) end = step;
    expect(apart(end.xS, x)).toBeLessThan(1e-9);
    expect(end.nfe).toBe(nfe);
  });

  test("refuse what makes no sense", async () => {
    expect(() => ddimStep(Float64Array.of(1), Float64Array.of(1), 0.3, 0.5, 2)).toThrow(/eta/);
    expect(() => ddimStep(Float64Array.of(1), Float64Array.of(1), 0.3, 0.5, 1)).toThrow(/noise/);
    await expect(walk(() => 0, [], [], "dimm").next()).rejects.toThrow(/dimm/);
    await expect(walk(() => 0, [], [], "ddpm", 0.5).next()).rejects.toThrow(/eta/);
  });
});

test.each(golden.schedules)("schedule: $steps steps, $spacing, $previous", ({ steps, spacing, previous, transitions }) => {
  const schedule = NoiseSchedule.scaledLinear(1000, 0.00085, 0.012, { setAlphaToOne: false, stepsOffset: 1 });
  const found = schedule.transitions(steps, spacing, undefined, previous);
  expect(found.map(({ t, s }) => [t, s])).toEqual(transitions.map(([t, s]) => [t, s]));
  expect(apart(found.map((f) => f.alphaBarT), transitions.map((f) => f[2]))).toBeLessThan(1e-12);
  expect(apart(found.map((f) => f.alphaBarS), transitions.map((f) => f[3]))).toBeLessThan(1e-12);
});

describe("guidance", () => {
  const { predictions, cases } = golden.rules[0];
  const typed = Object.fromEntries(Object.entries(predictions).map(([name, values]) => [name, Float64Array.from(values)]));
  test.each(cases)("$rule.rule at step $step", ({ rule, step, needs, eps: wanted }) => {
    const found = ruleOf(rule)(step, 10);
    expect([...found.needs].sort()).toEqual(needs);
    const given = Object.fromEntries(found.needs.map((name) => [name, typed[name]]));
    expect(apart(found.map(given, 2), wanted)).toBeLessThan(1e-12);
  });

  test("refuses what makes no sense", () => {
    expect(() => ruleOf({ rule: "cfg", scale: 2 })).toThrow(/cfg/);
    expect(() => ruleOf({ rule: "classifier_free", scale: NaN })).toThrow(/scale/);
    expect(() => ruleOf({ rule: "classifier_free", scale: 2, start: 0.9, stop: 0.1 })).toThrow(/start/);
    const three = ruleOf({ rule: "three_branch", lambdaPos: 2 })(0, 1);
    expect(() => three.map({ uncond: [0], cond: [0], neg: [0] })).toThrow(/lambdaNeg/);
  });
});

describe("words", () => {
  const { ids, unknown, captions: made, parsed, attributes } = golden.words;
  test.each(Object.entries(ids))("the tokens of “%s”", (text, wanted) => {
    expect(Array.from(encode(text, golden.tokens), Number)).toEqual(wanted);
  });
  test.each(Object.entries(unknown))("“%s” is refused with the same hints", (text, message) => {
    let error;
    try {
      encode(text, golden.tokens, "negativePrompt");
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(UnknownWordError);
    expect(error.field).toBe("negativePrompt");
    for (const { word, nearest } of error.unknown) {
      expect(message).toContain(`'${word}'${nearest.length ? ` (nearest: ${nearest.join(", ")})` : ""}`);
    }
  });
  test("a text that is too long is refused", () => {
    expect(() => encode("a ".repeat(19), golden.tokens)).toThrow(/at most 18/);
  });
  test("captions are written and read as in Python", () => {
    expect(captions.ATTRIBUTES).toEqual(attributes);
    for (const { said, text } of made) expect(captions.caption(said)).toBe(text);
    for (const { said, text } of parsed) expect(captions.parse(text)).toEqual(said);
  });
});
