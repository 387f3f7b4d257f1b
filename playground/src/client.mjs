// The page's side of the worker: one client, so one worker and one download, for all elements of a page that ask for the
// same models.

import { CLASSIC } from "./family.mjs";
import { isCached } from "./store.mjs";
import { unable } from "./wasm.mjs";

const KEPT = 48; // results, so that going back to a setting costs nothing

const clients = new Map();

/** The page's client for models of the manifest at an absolute address; by default for the classic alone. */
export function clientFor(manifest, models = [CLASSIC]) {
  const key = [manifest, ...models].join(" ");
  if (!clients.has(key)) clients.set(key, new Client(manifest, models));
  return clients.get(key);
}

/** Why the model cannot run here at all, or "". */
export function obstacle() {
  if (typeof Worker !== "function") return "this browser has no workers";
  return unable();
}

/** True if the reader asks pages to save data. */
export function savesData() {
  return Boolean(navigator.connection?.saveData) || matchMedia("(prefers-reduced-data: reduce)").matches;
}

/**
 * phase: "idle", "loading", "starting", "ready" or "failed"; every change of it, and every progress, is announced by
 * an event "change".
 */
export class Client extends EventTarget {
  #worker = null;
  #jobs = new Map();
  #kept = new Map();
  #next = 1;

  constructor(manifest, models) {
    super();
    this.manifest = manifest;
    this.models = models;
    this.phase = "idle";
    this.received = this.total = 0;
    this.reason = "";
    this.blocked = false; // it failed, and another try will not help
  }

  /** True if the models are kept in this browser from an earlier visit. */
  isCached() {
    return isCached(this.manifest, this.models);
  }

  load() {
    if (this.phase !== "idle" && this.phase !== "failed") return;
    this.received = this.total = 0;
    this.#set("loading");
    try {
      this.#worker = new Worker(new URL("./worker.mjs", import.meta.url), { type: "module" });
    } catch (error) {
      this.#fail("start", error.message);
      return;
    }
    this.#worker.addEventListener("message", ({ data }) => this.#hear(data));
    this.#worker.addEventListener("error", (event) => {
      event.preventDefault();
      this.#fail("start", event.message || "its program could not be loaded");
    });
    this.#worker.postMessage({ type: "load", manifest: this.manifest, models: this.models });
  }

  /** Give up a download; the phase is "idle" again. */
  cancelLoad() {
    if (this.phase === "loading" || this.phase === "starting") this.#fail("cancelled", "");
  }

  /**
   * Run lanes (lane.mjs), and hand back a job with `cancel()`. After a cancel no handler is called.
   * on: { step, lane, film, done, error, stopped }, each optional, called with the worker's message.
   */
  run(lanes, on, preview = true) {
    const id = this.#next++;
    const wanted = [];
    const job = { on, over: false, lanes: new Map(lanes.map((lane) => [lane.key, lane])) };
    for (const lane of lanes) {
      const kept = this.#kept.get(lane.name);
      if (kept) queueMicrotask(() => !job.over && replay(kept, lane.key, on));
      else wanted.push(lane);
    }
    this.#jobs.set(id, job);
    if (wanted.length) this.#worker.postMessage({ type: "run", id, lanes: wanted, preview });
    else queueMicrotask(() => this.#end(id, "done", {}));
    return {
      cancel: () => {
        if (job.over) return;
        job.over = true;
        this.#jobs.delete(id);
        this.#worker?.postMessage({ type: "cancel", id });
      },
    };
  }

  #hear(message) {
    if (message.type === "progress") {
      [this.received, this.total] = [message.received, message.total];
      this.#set("loading");
    } else if (message.type === "starting") this.#set("starting");
    else if (message.type === "ready") this.#set("ready");
    else if (message.type === "failed") this.#fail(message.code, message.message);
    else this.#deliver(message);
  }

  #deliver(message) {
    const job = this.#jobs.get(message.id);
    if (!job || job.over) return; // of a job that was cancelled meanwhile
    const lane = job.lanes.get(message.key);
    if (message.type === "lane") {
      job.last = message;
      if (!lane.film) this.#keep(lane, { lane: message });
    } else if (message.type === "film") this.#keep(lane, { lane: job.last, film: message });
    if (["done", "error", "stopped"].includes(message.type)) this.#end(message.id, message.type, message);
    else job.on[message.type]?.(message);
  }

  #end(id, type, message) {
    const job = this.#jobs.get(id);
    if (!job || job.over) return;
    job.over = true;
    this.#jobs.delete(id);
    job.on[type]?.(message);
  }

  #keep(lane, result) {
    this.#kept.set(lane.name, result);
    if (this.#kept.size > KEPT) this.#kept.delete(this.#kept.keys().next().value);
  }

  #fail(code, message) {
    this.#worker?.terminate();
    this.#worker = null;
    const jobs = [...this.#jobs.values()];
    this.#jobs.clear();
    this.reason = code === "cancelled" ? "" : message;
    this.blocked = code === "blocked";
    this.#set(code === "cancelled" ? "idle" : "failed");
    for (const job of jobs) {
      job.over = true;
      job.on.error?.({ name: "Error", message });
    }
  }

  #set(phase) {
    this.phase = phase;
    this.dispatchEvent(new Event("change"));
  }
}

function replay({ lane, film }, key, on) {
  on.lane?.({ ...lane, key });
  if (film) on.film?.({ ...film, key });
}
