// Where the browser keeps the model between visits: the Cache API, each file under its content's hash.

import { filesOf } from "./family.mjs";

const STORE = "diffusion-playground";

/** The store, or undefined where storage is switched off or the site is not served securely. */
export async function openStore() {
  try {
    return await globalThis.caches?.open(STORE);
  } catch {
    return undefined;
  }
}

/** The address under which a file of the manifest at `url` is kept. */
export function keyOf(url, file) {
  return new URL(`sha256-${file.sha256}`, url).href;
}

/** True if every file that the named models need is kept, so that loading them costs no download. */
export async function isCached(url, models) {
  try {
    if (!globalThis.caches || !(await caches.has(STORE))) return false;
    const store = await openStore();
    const kept = await store.match(url);
    if (!kept) return false;
    const files = filesOf(await kept.json(), models);
    return (await Promise.all(files.map((file) => store.match(keyOf(url, file))))).every(Boolean);
  } catch {
    return false;
  }
}
