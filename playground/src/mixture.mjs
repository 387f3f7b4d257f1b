// Round Gaussian blobs in the plane under the forward process, in closed form: what diffusion_tutorial/mixtures.py is
// for any mixture, here for round ones. Points are Float64Array of x0 y0 x1 y1 ...; alphaBar is in [0, 1].

/** The chapter's data, tiny2d.ring: blobs on a circle, two neighbours a class. */
export function ring(points = 6, radius = 1.5, std = 0.14) {
  return Array.from({ length: points }, (_, k) => {
    const angle = (2 * Math.PI * k) / points;
    return { x: radius * Math.cos(angle), y: radius * Math.sin(angle), variance: std ** 2, label: Math.floor(k / 2) };
  });
}

/** E[eps | x_t], what a perfect denoiser predicts: -sqrt(1 - alphaBar) times the score. All blobs weigh the same. */
export function eps(blobs, points, alphaBar) {
  const result = new Float64Array(points.length);
  const scale = Math.sqrt(alphaBar);
  const noise = Math.sqrt(1 - alphaBar);
  const weights = new Float64Array(blobs.length);
  for (let at = 0; at < points.length; at += 2) {
    let most = -Infinity;
    blobs.forEach((blob, k) => {
      const v = alphaBar * blob.variance + 1 - alphaBar;
      const square = (points[at] - scale * blob.x) ** 2 + (points[at + 1] - scale * blob.y) ** 2;
      weights[k] = -0.5 * (square / v) - Math.log(v);
      most = Math.max(most, weights[k]);
    });
    let [sum, x, y] = [0, 0, 0];
    blobs.forEach((blob, k) => {
      const v = alphaBar * blob.variance + 1 - alphaBar;
      const weight = Math.exp(weights[k] - most);
      sum += weight;
      x += (weight * (points[at] - scale * blob.x)) / v;
      y += (weight * (points[at + 1] - scale * blob.y)) / v;
    });
    result[at] = (noise * x) / sum;
    result[at + 1] = (noise * y) / sum;
  }
  return result;
}

/** The density on a square grid, side x side from the top left, over [-reach, reach]; its largest value is 1. */
export function density(blobs, alphaBar, side, reach) {
  const result = new Float32Array(side * side);
  const scale = Math.sqrt(alphaBar);
  const column = new Float64Array(side);
  let most = 0;
  for (const blob of blobs) {
    const v = alphaBar * blob.variance + 1 - alphaBar;
    // A round blob is a product of two one-dimensional ones.
    for (let i = 0; i < side; i++) column[i] = Math.exp((-0.5 * (at(i) - scale * blob.x) ** 2) / v);
    for (let j = 0; j < side; j++) {
      const row = Math.exp((-0.5 * (-at(j) - scale * blob.y) ** 2) / v) / v;
      for (let i = 0; i < side; i++) most = Math.max(most, (result[j * side + i] += row * column[i]));
    }
  }
  return result.map((p) => p / most);

  function at(i) {
    return ((2 * i + 1) / side - 1) * reach;
  }
}

/** How many points lie within three standard deviations of one of the blobs. */
export function inside(blobs, points) {
  let count = 0;
  for (let at = 0; at < points.length; at += 2) {
    if (blobs.some((b) => (points[at] - b.x) ** 2 + (points[at + 1] - b.y) ** 2 < 9 * b.variance)) count++;
  }
  return count;
}
