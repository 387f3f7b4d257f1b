// The model's files: streamed with byte progress, checked against their SHA-256, kept in the Cache API under their
// content's hash. The worker's business; the page asks store.mjs alone.

import { filesOf, modelsOf } from "./family.mjs";
import { sha256 } from "./sha256.mjs";
import { keyOf, openStore } from "./store.mjs";

/** Why there are no files. code: "network", "status", "corrupted", "cancelled", "manifest". */
export class DownloadError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "DownloadError";
    this.code = code;
  }
}

/** The manifest at `url`, from the network, or the kept copy where there is no network. */
export async function readManifest(url, signal) {
  const store = await openStore();
  try {
    const response = await request(url, { signal, cache: "no-cache" });
    const copy = response.clone();
    const manifest = checked(await response.json(), url);
    await keep(store, url, copy);
    return manifest;
  } catch (error) {
    const kept = await store?.match(url);
    if (kept && error.code !== "cancelled") return checked(await kept.json(), url);
    if (error instanceof DownloadError) throw error;
    throw new DownloadError("manifest", `the list of the model's files cannot be read (${error.message})`);
  }
}

/**
 * Every file that the named models need, by default the classic alone.
 * @param {(received: number, total: number) => void} onProgress in bytes
 * @returns {Promise<Map<string, Uint8Array>>} by name
 */
export async function loadFiles(manifest, url, { models, onProgress = () => {}, signal } = {}) {
  const files = filesOf(manifest, models);
  const total = files.reduce((sum, file) => sum + file.bytes, 0);
  const stop = new AbortController();
  const cancel = () => stop.abort();
  signal?.addEventListener("abort", cancel);
  if (signal?.aborted) cancel();
  const store = await openStore();
  let received = 0;
  const add = (bytes) => onProgress((received += bytes), total);
  try {
    const parts = await Promise.all(
      files.map(async (file) => [file.name, await loadFile(file, url, store, add, stop.signal)]),
    );
    await forgetOthers(store, url, manifest);
    return new Map(parts);
  } catch (error) {
    cancel(); // the other files are of no use
    throw error;
  } finally {
    signal?.removeEventListener("abort", cancel);
  }
}

async function loadFile(file, url, store, add, signal) {
  const key = keyOf(url, file);
  const kept = await store?.match(key);
  if (kept) {
    const bytes = new Uint8Array(await kept.arrayBuffer());
    if ((await sha256(bytes)) === file.sha256) {
      add(bytes.length);
      return bytes;
    }
    await store.delete(key); // damaged on this machine: fetched again
  }
  const response = await request(new URL(file.path, url), { signal });
  const bytes = await read(response, file, add, signal);
  if ((await sha256(bytes)) !== file.sha256) {
    throw new DownloadError("corrupted", `${file.path} arrived damaged: its SHA-256 is not the one it should have`);
  }
  await keep(store, key, new Response(bytes, { headers: { "Content-Length": String(bytes.length) } }));
  return bytes;
}

async function request(url, options) {
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    if (options.signal?.aborted) throw new DownloadError("cancelled", "the download was cancelled");
    throw new DownloadError("network", "the network did not answer");
  }
  if (!response.ok) throw new DownloadError("status", `the server answered ${response.status} for ${fileOf(url)}`);
  return response;
}

async function read(response, file, add, signal) {
  const bytes = new Uint8Array(file.bytes);
  const reader = response.body.getReader();
  let at = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (at + value.length > file.bytes) {
        await reader.cancel();
        throw new DownloadError("corrupted", `${file.path} is longer than it should be`);
      }
      bytes.set(value, at);
      at += value.length;
      add(value.length);
    }
  } catch (error) {
    if (error instanceof DownloadError) throw error;
    if (signal?.aborted) throw new DownloadError("cancelled", "the download was cancelled");
    throw new DownloadError("network", "the connection broke off");
  }
  if (at < file.bytes) throw new DownloadError("corrupted", `${file.path} is cut short`);
  return bytes;
}

function checked(manifest, url) {
  const fits = (file) =>
    typeof file?.name === "string" &&
    typeof file.path === "string" &&
    Number.isInteger(file.bytes) &&
    /^[0-9a-f]{64}$/.test(file.sha256);
  const lists = [manifest?.files, ...Object.values(manifest?.models ?? {}).map(({ files }) => files)];
  if (!lists.every((files) => Array.isArray(files) && files.length > 0 && files.every(fits))) {
    throw new DownloadError("manifest", `${fileOf(url)} is not a list of files with bytes and sha256`);
  }
  return manifest;
}

function fileOf(url) {
  return new URL(url).pathname.split("/").pop();
}

async function keep(store, key, response) {
  try {
    await store?.put(key, response);
  } catch {
    // No room: the model works all the same.
  }
}

/** Files of older models, under this manifest's folder. */
async function forgetOthers(store, url, manifest) {
  if (!store) return;
  const here = new URL("sha256-", url).href;
  const wanted = new Set(filesOf(manifest, modelsOf(manifest)).map((file) => keyOf(url, file)));
  for (const { url: key } of await store.keys()) {
    if (key.startsWith(here) && !wanted.has(key)) await store.delete(key);
  }
}
