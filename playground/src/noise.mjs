// Seeded Gaussian noise: the mirror of diffusion_tutorial/noise.py, equal to it bit for bit after rounding to
// float32. Threefry-2x32-20 (Salmon et al. 2011) and Box-Muller; log, sin and cos are written out with + - * / and
// sqrt, because Math.log and its kind may differ in the last bit between engines. A test in tests/unit compares.

const LIMIT = 4294967296;
const ROTATIONS = [[13, 15, 26, 6], [17, 29, 16, 24]];
const PARITY = 0x1bd11bda;

const LN2 = 0.6931471805599453;
const SQRT_HALF = 0.7071067811865476;
const HALF_PI = 1.5707963267948966;

const ATANH = [];
const SIN = [];
const COS = [];
for (let k = 0; k < 12; k++) ATANH.push(1 / (2 * k + 1));
for (let k = 0, even = 1; k < 10; k++) {
  const sign = k % 2 ? -1 : 1; // even is (2k)!, exact in a double up to 18! and beyond
  COS.push(sign / even);
  SIN.push(sign / (even * (2 * k + 1)));
  even *= (2 * k + 1) * (2 * k + 2);
}

/**
 * Standard normal noise for images `first` ... `first + count - 1`, `numbers` values each.
 * Stream 0 is the initial noise, stream k + 1 the noise that step k adds.
 * @returns {Float32Array} of length count * numbers
 */
export function gaussian(count, numbers, seed, stream = 0, first = 0) {
  for (const [name, value] of Object.entries({ seed, stream, first, "first + count": first + count })) {
    if (!Number.isInteger(value) || value < 0 || value >= LIMIT) {
      throw new RangeError(`${name} must be an integer in [0, 2**32), got ${value}`);
    }
  }
  const result = new Float32Array(count * numbers); // storing rounds to the nearest float32
  for (let image = 0; image < count; image++) {
    for (let pair = 0; 2 * pair < numbers; pair++) {
      const [u, v] = threefry(seed, stream, pair, first + image);
      const [x, y] = boxMuller(u, v);
      const at = image * numbers + 2 * pair;
      result[at] = x;
      if (2 * pair + 1 < numbers) result[at + 1] = y;
    }
  }
  return result;
}

/** Threefry-2x32 with 20 rounds: key (k0, k1), counter (c0, c1), two unsigned 32-bit words. */
export function threefry(k0, k1, c0, c1) {
  const key = [k0 | 0, k1 | 0, k0 ^ k1 ^ PARITY];
  let a = (c0 + key[0]) | 0;
  let b = (c1 + key[1]) | 0;
  for (let block = 0; block < 5; block++) {
    for (const r of ROTATIONS[block % 2]) {
      a = (a + b) | 0;
      b = ((b << r) | (b >>> (32 - r))) ^ a;
    }
    a = (a + key[(block + 1) % 3]) | 0;
    b = (b + key[(block + 2) % 3] + block + 1) | 0;
  }
  return [a >>> 0, b >>> 0];
}

function boxMuller(u, v) {
  const radius = Math.sqrt(-2 * log((u + 0.5) / LIMIT));
  const [cos, sin] = cosSin(((v & 0x3fffffff) + 0.5) / 1073741824);
  return [v & 0x80000000 ? -radius * cos : radius * cos, v & 0x40000000 ? -radius * sin : radius * sin];
}

function horner(coefficients, x) {
  let result = coefficients[coefficients.length - 1];
  for (let k = coefficients.length - 2; k >= 0; k--) result = result * x + coefficients[k];
  return result;
}

function log(x) {
  let m = x;
  let e = 0;
  while (m < 0.5) {
    m *= 2; // exact
    e -= 1;
  }
  if (m < SQRT_HALF) {
    m *= 2;
    e -= 1;
  }
  const z = (m - 1) / (m + 1);
  return e * LN2 + 2 * z * horner(ATANH, z * z);
}

function cosSin(quarter) {
  const d = (quarter - 0.5) * HALF_PI;
  const c = horner(COS, d * d);
  const s = d * horner(SIN, d * d);
  return [(c - s) * SQRT_HALF, (c + s) * SQRT_HALF];
}
