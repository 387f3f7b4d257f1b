// The figure of the stage "negative-prompts": the board, the three predictions as arrows from its middle, and where the
// points of three rules end. The tip of the negative's arrow is the reader's to drag.

import { BLOBS, ends, expected, middle, movedTo, named, rules } from "./board.mjs";
import { canvas, pad } from "./plane.mjs";

const PAINT = { red: "#d9483b", orange: "#ee9a2e", green: "#4a9e52", blue: "#3f78c9" };
const [POINTS, SEED] = [150, 3];

/** move: takes a change of the state. Returns { draw(state), place(state) }. */
export function mount(box, about, move) {
  const { plane, sets, stops } = about;
  const negatives = sets.map(({ board }) => named(board));
  const positive = named(plane.positive);
  let [shown, found, number] = [null, null, 0];
  const request = canvas(box, plane, paint);
  pad(box, plane, () => place(shown), (to) => move({ place: to, set: nearest(to) }));
  return { draw };

  function place({ set, place: moved }) {
    return moved ?? middle(negatives[set]);
  }

  /** The set whose negative lies nearest to a place. */
  function nearest(to) {
    const far = negatives.map((blobs) => Math.hypot(middle(blobs).x - to.x, middle(blobs).y - to.y));
    return far.indexOf(Math.min(...far));
  }

  async function draw(state) {
    shown = state;
    request();
    const mine = ++number;
    const scale = Number(stops[state.at]);
    const negative = movedTo(negatives[state.set], place(state));
    const points = await Promise.all(rules(scale).map((rule) => ends(rule, positive, negative, POINTS, SEED)));
    if (mine !== number) return; // the reader has gone on
    found = { points, arrows: expected(positive, negative, scale) };
    box.dataset.points = points.map((all) => all.slice(0, 2).map((v) => v.toFixed(4)).join()).join(" "); // for tests
    request();
  }

  function paint(pen) {
    const { words } = plane;
    const ink = pen.colour("--pst-color-text-base");
    BLOBS.forEach(({ x, y, colour, shape }) => pen.dot(x, y, Math.max(0.17 * pen.unit, 4), PAINT[colour], shape === "cube"));
    words.rows.forEach((label, k) => pen.text(label, -1.9, 0.75 - 1.5 * k, pen.colour("--pst-color-text-muted"), { dx: -pen.context.measureText(label).width - 34 }));
    if (!found) return;
    const { points, arrows } = found;
    const order = [2, 1, 0]; // the formula in use on top
    pen.context.globalAlpha = 0.6;
    for (const k of order) pen.dots(points[k], 2, pen.series[k]);
    pen.context.globalAlpha = 1;
    const from = [arrows.empty.x, arrows.empty.y];
    for (const k of order) pen.arrow(from, [arrows.results[k].x, arrows.results[k].y], pen.series[k], 2, k ? [5, 3] : []);
    pen.arrow(from, [arrows.wanted.x, arrows.wanted.y], ink, 2.5);
    const tip = place(shown);
    pen.arrow(from, [tip.x, tip.y], ink, 2.5);
    pen.dot(tip.x, tip.y, 8, pen.colour("--pst-color-background"));
    pen.dot(tip.x, tip.y, 6, ink);
    pen.text("ε₋", tip.x, tip.y, ink, { dx: tip.x < 0 ? -24 : 12 });
    pen.text("ε₊", arrows.wanted.x, arrows.wanted.y, ink, { dx: 7, dy: -9 });
  }
}

