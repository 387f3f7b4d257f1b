import { readFileSync, readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import * as captions from "../src/captions.mjs";
import * as board from "../src/board.mjs";
import { ruleOf } from "../src/guidance.mjs";
import { eps, ring } from "../src/mixture.mjs";
import * as plane from "../src/mixture-walk.mjs";
import { FlowSchedule, scheduleOf } from "../src/model-schedule.mjs";
import { gaussian } from "../src/noise.mjs";
import { PREDICTIONS } from "../src/predictions.mjs";
import { SAMPLERS, ddimStep, heunStep, walk } from "../src/samplers.mjs";
import { NoiseSchedule } from "../src/schedule.mjs";
import { UnknownWordError, encode } from "../src/tokenizer.mjs";
import { apart, golden } from "./golden.mjs";

const linear = NoiseSchedule.linear();

describe("the floors", () => {
  // A module may import from lower floors alone, so there is no circle; a new module needs its place here.
  const FLOORS = [
    "captions dom errors lane live-style mixture noise parts-state plane predictions sha256 stage-state style wasm",
    "controls family guidance samplers schedule tile told tokenizer words",
    "board mixture-walk model-schedule settings store",
    "client download engine mixture-view plane-guidance plane-levels plane-negative plane-solvers presets",
    "live worker",
    "element",
    "parts-stage stage",
  ].map((names) => names.split(" "));
  const floor = new Map(FLOORS.flatMap((names, k) => names.map((name) => [`${name}.mjs`, k])));
  const folder = new URL("../src/", import.meta.url);
  const files = readdirSync(folder);
  // Programs that are started rather than called: a page and its worker know each other by messages.
  const STARTED = ["worker.mjs"];
  const imports = (file) => {
    const text = readFileSync(new URL(file, folder), "utf8");
    return [...text.matchAll(/"\.\/([\w-]+\.mjs)"/g)].map(([, name]) => name);
  };

  test("each module has its place", () => expect(files.toSorted()).toEqual([...floor.keys()].toSorted()));
  test.each(files)("%s imports from lower floors alone", (file) => {
    const wrong = imports(file).filter((name) => !STARTED.includes(name) && !(floor.get(name) < floor.get(file)));
    expect(wrong).toEqual([]);
  });
  test("imports are found", () => {
    expect(imports("engine.mjs")).toContain("guidance.mjs");
    expect(imports("element.mjs")).toEqual(expect.arrayContaining(["client.mjs", "live.mjs", "mixture-view.mjs"]));
  });
});

describe("samplers", () => {
  test("each method of the package has its twin, and there is no other", () => {
    const ours = Object.entries(SAMPLERS).map(([name, { title, stochastic, previous }]) => [name, { title, stochastic, previous }]);
    expect(Object.fromEntries(ours)).toEqual(golden.samplers);
  });

  test.each(golden.walks)("$sampler, $steps steps, $spacing, eta $eta", async ({ sampler, steps, spacing, eta, x, nfe }) => {
    const blobs = ring();
    const transitions = linear.transitions(steps, spacing, undefined, SAMPLERS[sampler].previous);
    const denoiser = (points, { alphaBar }) => eps(blobs, points, alphaBar);
    const noise = (k) => Float64Array.from(gaussian(4, 2, 11, k + 1));
    let end;
    for await (const step of walk(denoiser, Float64Array.from(gaussian(4, 2, 11)), transitions, sampler, eta, noise)) end = step;
    expect(apart(end.xS, x)).toBeLessThan(1e-9);
    expect(end.nfe).toBe(nfe);
  });

  test.each(golden.flow_walks)("$sampler at a flow's levels", async ({ sampler, x, nfe }) => {
    const [blobs, flow] = [ring(), new FlowSchedule({ shift: 2 })];
    const transitions = flow.transitions(5, "trailing");
    const denoiser = (points, { alphaBar }) => eps(blobs, points, alphaBar);
    const noise = (k) => Float64Array.from(gaussian(4, 2, 11, k + 1));
    let end;
    for await (const step of walk(denoiser, Float64Array.from(gaussian(4, 2, 11)), transitions, sampler, 0, noise, flow.time)) end = step;
    expect(apart(end.xS, x)).toBeLessThan(1e-9);
    expect(end.nfe).toBe(nfe);
  });

  test.each(golden.plane)("guided in the plane: $sampler, pair $pair, scale $scale", async ({ sampler, scale, pair, x, nfe }) => {
    const blobs = ring();
    const wanted = blobs.filter(({ label }) => label === pair);
    const { points, nfe: found } = await plane.walk({ ...plane.FIRST, sampler, scale, seed: 3, points: 5, blobs, wanted });
    expect(apart(points.at(-1), x)).toBeLessThan(1e-9);
    expect(found).toBe(nfe);
  });

  test.each(golden.boards)("on the board of eight: $rule at $scale against $negative", async ({ rule, scale, negative, x }) => {
    const data = board.rules(scale).find((one) => one.rule === rule);
    // Perp-Neg divides by the push of the prompt, of which rounding alone is left near the end of a run.
    const near = rule === "perp_neg" ? 1e-4 : 1e-9;
    expect(apart(await board.ends(data, board.named("sphere"), board.named(negative), 5, 3), x)).toBeLessThan(near);
  });

  test("the arrows of the board are those of its rules, and a negative moves as one", () => {
    const [wanted, not] = [board.named("sphere"), board.named("red sphere")];
    const { empty, wanted: to, not: from, results } = board.expected(wanted, not, 2);
    expect(Math.hypot(empty.x, empty.y)).toBeLessThan(1e-6); // the board's middle
    expect(to.x).toBeCloseTo(0, 6);
    expect(from.x).toBeCloseTo(-1.5, 2);
    expect(results[0].x).toBeCloseTo(2 * to.x - from.x, 9);
    expect(results[1].y).toBeCloseTo(2 * to.y - 2 * from.y, 6);
    const moved = board.movedTo(board.named("red"), { x: 0.5, y: 0.25 });
    expect(board.middle(moved)).toEqual({ x: 0.5, y: 0.25 });
    expect(moved[0].y - moved[1].y).toBeCloseTo(1.5, 12);
    expect(board.named("")).toHaveLength(8);
  });

  test("every evaluation is told its step, its timestep and its level", async () => {
    const transitions = linear.transitions(3, "leading", undefined, "grid");
    const seen = [];
    const denoiser = (x, moment) => {
      seen.push(moment);
      return x;
    };
    for await (const step of walk(denoiser, Float64Array.of(1, 2), transitions, "heun")) expect(step.index).toBeLessThan(3);
    const [first, second, third] = transitions.map(({ t, alphaBarT }, step) => ({ step, steps: 3, t, alphaBar: alphaBarT }));
    expect(seen).toEqual([first, second, second, third, third]); // Heun asks again at the end of a step: the next one's moment
  });

  test("refuse what makes no sense", async () => {
    expect(() => ddimStep(Float64Array.of(1), Float64Array.of(1), 0.3, 0.5, 2)).toThrow(/eta/);
    expect(() => ddimStep(Float64Array.of(1), Float64Array.of(1), 0.3, 0.5, 1)).toThrow(/noise/);
    expect(() => heunStep(Float64Array.of(1), Float64Array.of(1), 0.3, 0.5, Float64Array.of(1), "v")).toThrow(/variable is “v”; allowed: u, sigma/);
    await expect(walk(() => 0, [], [], "dimm").next()).rejects.toThrow(/sampler is “dimm”; allowed: ddpm,/);
    await expect(walk(() => 0, [], [], "toString").next()).rejects.toThrow(/toString/);
    await expect(walk(() => 0, [], [], "ddpm", 0.5).next()).rejects.toThrow(/eta/);
  });
});

describe.each(golden.schedules)("schedule: $levels.kind, shift $levels.shift", ({ levels, cases }) => {
  const schedule = scheduleOf(levels);
  test.each(cases)("$steps steps, $spacing, $previous", ({ steps, spacing, previous, transitions }) => {
    const found = schedule.transitions(steps, spacing, undefined, previous).map(({ t, s, alphaBarT, alphaBarS }) => [t, s, alphaBarT, alphaBarS]);
    if (levels.kind === "table") return expect(found).toEqual(transitions); // to the last bit
    expect(found.map(([, s]) => s === null)).toEqual(transitions.map(([, s]) => s === null));
    return expect(apart(found.flat(), transitions.flat())).toBeLessThan(1e-9); // timesteps go up to 1000
  });

  test("refuses what makes no sense", () => {
    for (const steps of [0, 2.5, 1001, "3"]) expect(() => schedule.transitions(steps)).toThrow(/numInferenceSteps/);
    expect(() => schedule.transitions(3, "wide")).toThrow(/wide/);
  });
});

test("what is no schedule is refused", () => {
  const [{ levels }] = golden.schedules;
  for (const wrong of [[], [0.5, 0.6], [1.1], [0.5, 0], [0.5, NaN]]) {
    expect(() => scheduleOf({ ...levels, alphas_cumprod: wrong })).toThrow(/alphasCumprod/);
  }
  expect(() => scheduleOf({ ...levels, spacing: "wide" })).toThrow(/wide/);
  expect(() => scheduleOf({ ...levels, kind: "edm" })).toThrow(/edm.*table, flow/);
  for (const shift of [0, -1, Infinity, NaN]) expect(() => new FlowSchedule({ shift })).toThrow(/shift/);
  expect(() => new FlowSchedule({ numTrainTimesteps: 1 })).toThrow(/numTrainTimesteps/);
});

describe("what a network predicts", () => {
  test("the kinds are those of the package", () => {
    expect(Object.keys(PREDICTIONS).toSorted()).toEqual([...new Set(golden.predictions.map(({ name }) => name))].toSorted());
  });
  test.each(golden.predictions)("$name at level $level", ({ name, level, x, shown, answer, eps: wanted }) => {
    expect(apart(PREDICTIONS[name].networkInput(x, level), shown)).toBeLessThan(1e-12);
    expect(apart(PREDICTIONS[name].toEps(answer, x, level), wanted)).toBeLessThan(1e-12);
  });
});

describe("guidance", () => {
  const { predictions, cases } = golden.rules[0];
  const typed = Object.fromEntries(Object.entries(predictions).map(([name, values]) => [name, Float64Array.from(values)]));
  test.each(cases)("$rule.rule at step $step", ({ rule, step, needs, eps: wanted }) => {
    const [found, moment] = [ruleOf(rule), { step, steps: 10, t: 500, alphaBar: 0.5 }];
    expect(found.needs(moment).toSorted()).toEqual(needs);
    const given = Object.fromEntries(found.needs(moment).map((name) => [name, typed[name]]));
    expect(apart(found.map(given, moment, 2), wanted)).toBeLessThan(1e-12);
  });

  test("refuses what makes no sense", () => {
    expect(() => ruleOf({ rule: "cfg", scale: 2 })).toThrow(/cfg/);
    expect(() => ruleOf(undefined)).toThrow(/guidance.rule/);
    expect(() => ruleOf({ rule: "classifier_free", scale: NaN })).toThrow(/scale/);
    expect(() => ruleOf({ rule: "classifier_free", scale: 2, start: 0.9, stop: 0.1 })).toThrow(/start/);
    expect(() => ruleOf({ rule: "classifier_free", scale: 2, outside: { rule: "none" } })).toThrow(/outside.*none/);
    expect(() => ruleOf({ rule: "three_branch", lambdaPos: 2 })).toThrow(/lambdaNeg/);
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
