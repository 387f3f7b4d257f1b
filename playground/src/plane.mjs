// What the figures of the stages draw with: a canvas in the units of a plane, in the theme's colours.

/**
 * A canvas in `box`, drawn in units of the plane: middle { x, y } and `half`, half the plane's width. draw(pen) is called
 * anew where the size or the theme changes. Returns a function that draws at the next frame.
 */
export function canvas(box, { x: midX = 0, y: midY = 0, half }, draw) {
  const element = box.querySelector("canvas");
  let frame = 0;
  const request = () => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(paint);
  };
  new ResizeObserver(request).observe(box);
  new MutationObserver(request).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  return request;

  function paint() {
    const ratio = Math.min(devicePixelRatio, 2);
    const [width, height] = [box.clientWidth, box.clientHeight];
    if (!width) return;
    element.width = Math.round(width * ratio);
    element.height = Math.round(height * ratio);
    const context = element.getContext("2d");
    context.scale(ratio, ratio);
    const unit = width / (2 * half);
    draw(pen(context, getComputedStyle(box), { width, height, unit, at: (x, y) => [width / 2 + unit * (x - midX), height / 2 - unit * (y - midY)] }));
  }
}

function pen(context, style, frame) {
  const { at, unit, width, height } = frame;
  const colour = (name) => style.getPropertyValue(name).trim() || "#555";
  const self = {
    ...frame,
    context,
    colour,
    /** The colours of a stage's series, as the curve and its key have them. */
    series: [0, 1, 2].map((k) => colour(`--stage-${k}`)),
    dot(x, y, radius, fill, square = false) {
      const [px, py] = at(x, y);
      context.fillStyle = fill;
      context.beginPath();
      if (square) context.rect(px - radius, py - radius, 2 * radius, 2 * radius);
      else context.arc(px, py, radius, 0, 2 * Math.PI);
      context.fill();
    },
    /** Points x0 y0 x1 y1 ..., those outside the frame on its edge; how many are outside. */
    dots(points, radius, fill) {
      context.fillStyle = fill;
      context.beginPath();
      let outside = 0;
      for (let k = 0; k < points.length; k += 2) {
        const [px, py] = at(points[k], points[k + 1]);
        const [qx, qy] = [Math.min(Math.max(px, radius), width - radius), Math.min(Math.max(py, radius), height - radius)];
        if (qx !== px || qy !== py) outside++;
        context.moveTo(qx + radius, qy);
        context.arc(qx, qy, radius, 0, 2 * Math.PI);
      }
      context.fill();
      return outside;
    },
    line(points, stroke, thick = 1.5, dash = []) {
      context.strokeStyle = stroke;
      context.lineWidth = thick;
      context.setLineDash(dash);
      context.beginPath();
      points.forEach(([x, y], k) => context[k ? "lineTo" : "moveTo"](...at(x, y)));
      context.stroke();
      context.setLineDash([]);
    },
    arrow(from, to, stroke, thick = 2, dash = []) {
      const [[ax, ay], [bx, by]] = [at(...from), at(...to)];
      const length = Math.hypot(bx - ax, by - ay);
      if (length < 1) return;
      self.line([from, to], stroke, thick, dash);
      const head = Math.min(9, length);
      const turn = Math.atan2(by - ay, bx - ax);
      context.fillStyle = stroke;
      context.beginPath();
      context.moveTo(bx, by);
      for (const side of [-0.42, 0.42]) context.lineTo(bx - head * Math.cos(turn + side), by - head * Math.sin(turn + side));
      context.fill();
    },
    text(words, x, y, fill, { dx = 0, dy = 0, align = "left" } = {}) {
      const [px, py] = at(x, y);
      context.font = `600 12px ${style.fontFamily}`;
      context.textAlign = align;
      context.textBaseline = "middle";
      const wide = context.measureText(words).width;
      const left = Math.min(Math.max(px + dx - (align === "center" ? wide / 2 : 0), 3), width - wide - 3);
      context.textAlign = "left";
      context.lineWidth = 3;
      context.strokeStyle = colour("--pst-color-background");
      const top = Math.min(Math.max(py + dy, 8), height - 8);
      context.strokeText(words, left, top);
      context.fillStyle = fill;
      context.fillText(words, left, top);
    },
    unit,
  };
  return self;
}

/** Make a figure a pad: a finger, a mouse or the arrow keys move a place. to: from pixels of the box to the plane. */
export function pad(box, { half, x: midX = 0, y: midY = 0, reach, grain }, place, move) {
  const inside = ({ x, y }) => ({ x: round(Math.min(Math.max(x, -reach.x), reach.x), grain), y: round(Math.min(Math.max(y, -reach.y), reach.y), grain) });
  let held = false;
  const follow = (event) => {
    const area = box.getBoundingClientRect();
    const unit = area.width / (2 * half);
    move(inside({ x: midX + (event.clientX - area.left - area.width / 2) / unit, y: midY - (event.clientY - area.top - area.height / 2) / unit }));
  };
  box.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    held = true;
    box.setPointerCapture(event.pointerId);
    follow(event);
  });
  box.addEventListener("pointermove", (event) => held && follow(event));
  for (const end of ["pointerup", "pointercancel"]) box.addEventListener(end, () => (held = false));
  box.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!way || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const step = grain * (event.shiftKey ? 1 : 5);
    const { x, y } = place();
    move(inside({ x: x + way[0] * step, y: y + way[1] * step }));
  });
}

function round(value, grain) {
  return Number((Math.round(value / grain) * grain).toFixed(4));
}
