// The worker: downloads the model, makes the engine and runs jobs, one at a time. One worker serves a whole page.
//
//   page to worker                                    worker to page
//   { type: "load", manifest, models }                progress, starting, ready | failed
//   { type: "run", id, lanes, preview }               step, lane, done | error | stopped, each with the id
//   { type: "cancel", id }                            (the job's "stopped")
//   { type: "abort" }                                 failed with code "cancelled"
//
// A lane is one run of the sampler: `request` is what the engine's `trajectory` takes, `film` says whether the way
// there is wanted too. Every picture goes to the page as RGBA bytes, transferred and not copied.

import { loadFiles, readManifest } from "./download.mjs";
import { forbidden } from "./wasm.mjs";

const FILM = 6; // pictures in a strip, as in the Python widget
const PREVIEW_MS = 90; // no preview sooner than this after the last one,
const PREVIEW_SHARE = 3; // nor than this many times what the last one cost

const jobs = [];
let engine = null;
let loading = null;
let busy = false;

addEventListener("message", ({ data }) => {
  if (data.type === "load") load(data);
  else if (data.type === "abort") loading?.abort();
  else if (data.type === "run") {
    jobs.push({ ...data, cancelled: false });
    work();
  } else if (data.type === "cancel") {
    for (const job of jobs) if (job.id === data.id) job.cancelled = true;
  }
});

async function load({ manifest: url, models }) {
  if (engine || loading) return;
  const why = forbidden();
  if (why) return postMessage({ type: "failed", code: "blocked", message: why }); // before a byte of the model is asked for
  loading = new AbortController();
  const { signal } = loading;
  try {
    const code = import("./engine.mjs"); // in parallel with the weights
    code.catch(() => {});
    const manifest = await readManifest(url, signal);
    let told = -Infinity;
    const onProgress = (received, total) => {
      const now = performance.now();
      if (now - told < 50 && received < total) return;
      told = now;
      postMessage({ type: "progress", received, total });
    };
    const files = await loadFiles(manifest, url, { models, onProgress, signal });
    postMessage({ type: "starting" });
    const { createEngine } = await code;
    engine = await createEngine({ manifest, files });
    postMessage({ type: "ready" });
  } catch (error) {
    const code = error.name === "DownloadError" ? error.code : "start";
    postMessage({ type: "failed", code, message: String(error.message ?? error) });
  } finally {
    loading = null;
  }
}

async function work() {
  if (busy) return;
  busy = true;
  while (jobs.length) {
    await turn(); // a cancel that is already on its way comes first
    const job = jobs[0];
    try {
      const finished = !job.cancelled && (await run(job));
      postMessage({ type: finished ? "done" : "stopped", id: job.id });
    } catch (error) {
      const { name, message, unknown, field } = error;
      postMessage({ type: "error", id: job.id, name, message: String(message ?? error), unknown, field });
    }
    jobs.shift();
  }
  busy = false;
}

/** All lanes of a job. False if it was cancelled. */
async function run(job) {
  let last = performance.now();
  let pause = PREVIEW_MS;
  for (const { key, request, film } of job.lanes) {
    const start = performance.now();
    const count = request.numImages ?? 1;
    const way = [];
    let end = null;
    for await (const step of engine.trajectory(request)) {
      end = step;
      if (film) way.push({ t: step.t, x_t: step.x_t, x0: step.x0 });
      await turn();
      if (job.cancelled) return false;
      const message = { type: "step", id: job.id, key, index: step.index, of: request.numInferenceSteps };
      const now = performance.now();
      if (job.preview && now - last > pause && step.index + 1 < request.numInferenceSteps) {
        message.images = await pictures(step.x0, count);
        last = performance.now();
        pause = Math.max(PREVIEW_MS, PREVIEW_SHARE * (last - now));
      }
      send(message);
    }
    const images = await pictures(end.x_s, count);
    const message = { type: "lane", id: job.id, key, images, nfe: end.nfe, seconds: (performance.now() - start) / 1000 };
    send(message);
    if (film) {
      await turn();
      if (job.cancelled) return false;
      send({ type: "film", id: job.id, key, ...(await strip(way, count)) });
    }
    last = performance.now();
  }
  return true;
}

/** Decoded pictures of `count` latents: [{ width, height, data }]. */
async function pictures(latents, count) {
  const { width, height, data } = await engine.decode(latents, count);
  const size = 4 * width * height;
  return Array.from({ length: count }, (_, k) => ({ width, height, data: data.slice(k * size, (k + 1) * size) }));
}

/** The first picture's way: x_t and x0 at up to FILM steps of the run. */
async function strip(way, count) {
  const columns = Math.min(FILM, way.length);
  const picks = Array.from({ length: columns }, (_, k) => Math.round((k * (way.length - 1)) / Math.max(columns - 1, 1)));
  const size = way[0].x_t.length / count;
  const latents = new Float32Array(2 * columns * size);
  picks.forEach((pick, k) => {
    latents.set(way[pick].x_t.subarray(0, size), k * size);
    latents.set(way[pick].x0.subarray(0, size), (columns + k) * size);
  });
  const images = await pictures(latents, 2 * columns);
  return { film: { x_t: images.slice(0, columns), x0: images.slice(columns), t: picks.map((pick) => way[pick].t) } };
}

function send(message) {
  const images = [...(message.images ?? []), ...(message.film?.x_t ?? []), ...(message.film?.x0 ?? [])];
  postMessage(message, images.map((image) => image.data.buffer));
}

/** One turn of the event loop, so that messages are read; a resolved promise would not let them in. */
const channel = new MessageChannel();
const waiting = [];
channel.port1.onmessage = () => waiting.shift()();
function turn() {
  return new Promise((resolve) => {
    waiting.push(resolve);
    channel.port2.postMessage(null);
  });
}
