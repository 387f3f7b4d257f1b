// The figure of the stage "guidance": six blobs of which two are asked for. From one noisy point, the reader's to drag, the
// picture that no words expect, the one that the words do, and how far beyond it the scale goes; and where points end.

import { eps, ring } from "./mixture.mjs";
import { FIRST, walk } from "./mixture-walk.mjs";
import { canvas, pad } from "./plane.mjs";

const [POINTS, ONLY, LEVEL] = [150, 0, 0.5];

/** What a prediction at a noisy point expects in the end: { x, y }. */
function expected(blobs, { x, y }) {
  const point = Float64Array.of(x, y);
  const noise = eps(blobs, point, LEVEL);
  const [a, b] = point.map((v, k) => (v - Math.sqrt(1 - LEVEL) * noise[k]) / Math.sqrt(LEVEL));
  return { x: a, y: b };
}

/** The three arrows' ends from a noisy point at a scale: { empty, wanted, guided }. */
export function arrows(point, scale, blobs = ring(), wanted = blobs.filter(({ label }) => label === ONLY)) {
  const [empty, towards] = [expected(blobs, point), expected(wanted, point)];
  return { empty, wanted: towards, guided: { x: empty.x + scale * (towards.x - empty.x), y: empty.y + scale * (towards.y - empty.y) } };
}

/** move: takes a change of the state. Returns { draw(state) }. */
export function mount(box, about, move) {
  const { plane, stops } = about;
  const blobs = ring();
  const wanted = blobs.filter(({ label }) => label === ONLY);
  let [shown, points, number] = [null, null, 0];
  const place = () => shown.place ?? plane.begins;
  const request = canvas(box, plane, paint);
  pad(box, plane, place, (to) => move({ place: to }));
  return { draw };

  async function draw(state) {
    const again = !shown || shown.at !== state.at;
    shown = state;
    request();
    if (!again) return;
    const mine = ++number;
    const path = await walk({ ...FIRST, steps: 20, seed: 5, scale: Number(stops[state.at]), points: POINTS, blobs, wanted });
    if (mine !== number) return; // the reader has gone on
    points = path.points.at(-1);
    box.dataset.points = points.slice(0, 2).map((v) => v.toFixed(4)).join(); // for tests
    request();
  }

  function paint(pen) {
    const { words } = plane;
    const [ink, muted] = [pen.colour("--pst-color-text-base"), pen.colour("--pst-color-text-muted")];
    for (const { x, y, label } of blobs) pen.dot(x, y, 0.28 * pen.unit, label === ONLY ? pen.series[0] : pen.colour("--pst-color-border"));
    pen.context.globalAlpha = 0.75;
    if (points) pen.dots(points, 2, pen.series[1]);
    pen.context.globalAlpha = 1;
    const { x, y } = place();
    const found = arrows({ x, y }, Number(stops[shown.at]), blobs, wanted);
    pen.arrow([x, y], [found.guided.x, found.guided.y], pen.series[1], 2.5, [6, 3]);
    pen.arrow([x, y], [found.wanted.x, found.wanted.y], pen.series[0], 2.5);
    pen.arrow([x, y], [found.empty.x, found.empty.y], muted, 2.5);
    pen.dot(x, y, 7, pen.colour("--pst-color-background"));
    pen.dot(x, y, 5, ink);
    words.arrows.forEach((text, k) => {
      const end = [found.empty, found.wanted][k];
      const left = end.x < x;
      pen.text(text, end.x, end.y, [muted, pen.series[0]][k], { dx: left ? -8 - pen.context.measureText(text).width : 8, dy: end.y < y ? 10 : -10 });
    });
  }
}
