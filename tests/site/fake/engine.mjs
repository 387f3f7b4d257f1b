// In the place of playground/src/engine.mjs: the same calls, with a picture that is quickly made. The picture's colour
// follows from the request, its brightness from the step, so that a test can tell whose picture it sees.

let pace = 4; // milliseconds a step
let dead = false;

export async function createEngine({ manifest, files }) {
  pace = manifest.pace ?? pace;
  dead = Boolean(manifest.dead);
  if (dead) throw new Error("the program does not start");
  for (const file of manifest.files) if (files.get(file.name)?.length !== file.bytes) throw new Error(`no ${file.name}`);
  return {
    async *trajectory(request) {
      const { numInferenceSteps: n, numImages: count = 1 } = request;
      for (let index = 0; index < n; index++) {
        const until = performance.now() + pace * count;
        while (performance.now() < until); // as wasm does: the thread is busy
        const x = (share) => Float32Array.from({ length: count * 4 }, (_, k) => (k % 4 < 3 ? tint(request)[k % 4] * share : 1));
        const share = (index + 1) / n;
        yield { index, t: 1000 - Math.floor((1000 * index) / n), x_t: x(share / 2), x0: x(share), x_s: x(share), nfe: 2 * (index + 1) };
      }
    },
    async decode(latents, count) {
      const data = new Uint8ClampedArray(count * 64 * 64 * 4);
      for (let k = 0; k < data.length; k++) data[k] = 255 * latents[4 * Math.floor(k / (64 * 64 * 4)) + (k % 4)];
      return { width: 64, height: 64, data };
    },
  };
}

/** Red for the seed, green for the steps, blue for the scale: each setting has its own colour. */
function tint({ seed, numInferenceSteps, guidance }) {
  return [((seed * 37) % 100) / 100, numInferenceSteps / 50, (guidance.scale ?? guidance.lambdaNeg) / 15];
}
