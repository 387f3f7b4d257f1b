// node parity.mjs GOLDEN FOLDER ...: how far the engine on WebAssembly is from Python, for each exported model. GOLDEN
// holds runs and their results as tests/playground/golden.py writes them. Prints, a model each, a list of
// { latents, pictures } by run: the largest differences of final latents, and of pictures in 255ths. Runs may ask for any
// model of the family that was exported.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as ort from "onnxruntime-web/wasm";
import { createEngine } from "./src/engine.mjs";
import { filesOf, modelsOf } from "./src/family.mjs";
import { apart } from "./test/apart.mjs";

const [golden, ...folders] = process.argv.slice(2);
const found = [];
for (const folder of folders) {
  const manifest = JSON.parse(readFileSync(join(folder, "manifest.json")));
  const files = new Map(filesOf(manifest, modelsOf(manifest)).map(({ name, path }) => [name, new Uint8Array(readFileSync(join(folder, path)))]));
  const engine = await createEngine({ manifest, files, ort });
  const runs = [];
  for (const { request, latents, pictures } of JSON.parse(readFileSync(golden))) {
    let end = null;
    for await (const step of engine.trajectory(request)) end = step;
    const { data } = await engine.decode(end.x_s, request.numImages);
    runs.push({ latents: apart(end.x_s, latents), pictures: apart(data.filter((_, k) => k % 4 < 3), pictures) });
  }
  found.push(runs);
  await engine.dispose();
}
console.log(JSON.stringify(found));
