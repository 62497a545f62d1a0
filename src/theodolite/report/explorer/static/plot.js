// One kind of picture for all views: axes on a canvas, with a legend, a colour bar, a readout, and points to pick.

import { css, ink, onTheme } from "./colour.js";
import { el, fmt, num, scientific } from "./dom.js";
import { DRAW, FONT, dot } from "./layers.js";

const LEGEND = 40; // where a legend begins at most

export class Plot {
  // options: label (for those who cannot see it), x, y: {label, log}, height (per width), pick(x, y),
  // move(dx, dy, big) for arrow keys, under(x, y) -> text shown for the pointer, square.
  constructor(options) {
    this.options = { height: 0.72, ...options };
    this.canvas = el("canvas", { role: "img", "aria-label": options.label });
    this.readout = el("div", { class: "readout", "aria-hidden": "true" });
    this.root = el("div", { class: "plot" }, this.canvas, this.readout);
    this.layers = [];
    this.range = { x: [0, 1], y: [0, 1] };
    this.context = this.canvas.getContext("2d");
    this.listen();
  }

  listen() {
    this.observer = new ResizeObserver(() => this.paint());
    this.observer.observe(this.root);
    this.forget = onTheme(() => this.paint());
    const { pick, move } = this.options;
    if (pick) {
      this.canvas.classList.add("pickable");
      const send = (event, last) => { const p = this.inside(event); if (p) pick(...p, last); };
      this.canvas.addEventListener("pointerdown", (event) => {
        if (event.button) return;
        this.canvas.setPointerCapture(event.pointerId);
        this.dragging = true;
        send(event, false);
      });
      this.canvas.addEventListener("pointermove", (event) => { if (this.dragging) send(event, false); });
      for (const kind of ["pointerup", "pointercancel"]) this.canvas.addEventListener(kind, (event) => {
        if (this.dragging) { this.dragging = false; if (kind === "pointerup") send(event, true); }
      });
    }
    if (move) {
      this.canvas.tabIndex = 0;
      this.canvas.setAttribute("role", "application");
      this.canvas.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
        if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
        event.preventDefault();
        move(...step, event.shiftKey);
      });
    }
    this.canvas.addEventListener("pointermove", (event) => {
      const p = this.inside(event);
      this.readout.textContent = p ? (this.options.under ?? ((x, y) => `${fmt(x, 3)}, ${fmt(y, 3)}`))(...p) : "";
    });
    this.canvas.addEventListener("pointerleave", () => { this.readout.textContent = ""; this.options.leave?.(); });
  }

  close() { this.observer.disconnect(); this.forget(); }

  describe(text) { this.canvas.setAttribute("aria-label", text); }

  // layers and ranges; a range left out spans the layers' numbers
  draw({ layers, x, y, bar, legend = true }) {
    this.layers = layers;
    this.bar = bar;
    this.legend = legend;
    this.range = { x: x ?? this.spanned("x"), y: y ?? this.spanned("y") };
    this.paint();
  }

  spanned(axis) {
    const log = this.options[axis]?.log;
    let [low, high] = [Infinity, -Infinity];
    for (const layer of this.layers) {
      if (layer.aside) continue;
      for (const key of axis === "x" ? ["x"] : ["y", "low", "high"]) {
        const values = layer[key];
        if (!values || !values.length || layer.kind === "heat") continue;
        for (const raw of values) {
          const v = num(raw);
          if (!Number.isFinite(v) || (log && v <= 0)) continue;
          if (v < low) low = v;
          if (v > high) high = v;
        }
      }
    }
    if (low > high) return log ? [0.1, 1] : [0, 1];
    if (log) { const pad = Math.max((high / low) ** 0.04, 1.02); return axis === "x" ? [low, high] : [low / pad, high * pad]; }
    if (low === high) { const d = Math.abs(low) * 0.1 || 1; return [low - d, high + d]; }
    const pad = (axis === "x" ? (this.layers.some((l) => l.kind === "line" && !l.aside) ? 0 : 0.04) : 0.05) * (high - low);
    return [low - pad, high + pad];
  }

  // From data to pixels and back.
  px(v) { return this.place("x", v, this.box.left, this.box.right); }
  py(v) { return this.place("y", v, this.box.bottom, this.box.top); }
  place(axis, value, from, to) {
    const [low, high] = this.range[axis];
    const f = this.options[axis]?.log ? Math.log : (v) => v;
    return from + ((f(num(value)) - f(low)) / (f(high) - f(low))) * (to - from);
  }
  inside(event) {
    const r = this.canvas.getBoundingClientRect();
    if (!this.box) return null;
    const [px, py] = [event.clientX - r.left, event.clientY - r.top];
    const b = this.box;
    if (!this.dragging && (px < b.left - 1 || px > b.right + 1 || py < b.top - 1 || py > b.bottom + 1)) return null;
    const back = (axis, t) => {
      const [low, high] = this.range[axis];
      const c = Math.min(1, Math.max(0, t));
      return this.options[axis]?.log ? low * (high / low) ** c : low + c * (high - low);
    };
    return [back("x", (px - b.left) / (b.right - b.left)), back("y", (b.bottom - py) / (b.bottom - b.top))];
  }

  size() {
    const width = Math.max(120, this.root.clientWidth);
    const h = this.options.height;
    if (this.options.square) return [width, Math.round(Math.min(width, 640) - (this.bar ? 62 : 8) + 12)];
    return [width, Math.round(Math.min(width * h, 560))];
  }

  paint() {
    if (!this.root.isConnected || !this.root.clientWidth) return;
    const [width, height] = this.size();
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.canvas.style.height = `${height}px`;
    this.render(this.context, width, height, ratio);
  }

  render(c, width, height, ratio) {
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.fillStyle = ink("paper");
    c.fillRect(0, 0, width, height);
    c.font = FONT;
    const rows = this.legendRows(c, width);
    const top = 8 + 17 * rows.length;
    const right = width - (this.bar ? 62 : 8);
    const bottom = height - (this.options.x?.label ? 38 : 22);
    this.box = { left: 0, right, top, bottom };
    const yticks = ticks(...this.range.y, this.options.y?.log, Math.max(2, (bottom - top) / 44));
    const labels = yticks.map((t) => (this.options.y?.names ? this.options.y.names(t) : short(t)));
    this.box.left = Math.max(...labels.map((t) => c.measureText(t).width), 8) + (this.options.y?.label ? 24 : 10);
    if (this.options.square) this.makeSquare();
    this.axes(c, yticks, labels);
    c.save();
    c.beginPath();
    c.rect(this.box.left, this.box.top, this.box.right - this.box.left, this.box.bottom - this.box.top);
    c.clip();
    for (const layer of this.layers) DRAW[layer.kind]?.(c, layer, this);
    c.restore();
    for (const layer of this.layers) if (layer.kind === "mark") DRAW.marked(c, layer, this);
    this.drawLegend(c, rows);
    if (this.bar) this.drawBar(c);
  }

  makeSquare() {
    const b = this.box;
    const side = Math.min(b.right - b.left, b.bottom - b.top);
    b.right = b.left + side;
    b.top = b.bottom - side;
  }

  axes(c, yticks, labels) {
    const b = this.box;
    const xticks = ticks(...this.range.x, this.options.x?.log, Math.max(2.5, (b.right - b.left) / 78));
    c.strokeStyle = ink("grid");
    c.lineWidth = 1;
    c.beginPath();
    for (const t of xticks) { const x = Math.round(this.px(t)) + 0.5; c.moveTo(x, b.top); c.lineTo(x, b.bottom); }
    for (const t of yticks) { const y = Math.round(this.py(t)) + 0.5; c.moveTo(b.left, y); c.lineTo(b.right, y); }
    c.stroke();
    c.strokeStyle = ink("line");
    c.strokeRect(b.left + 0.5, b.top + 0.5, b.right - b.left - 1, b.bottom - b.top - 1);
    c.fillStyle = ink("muted");
    c.textBaseline = "top";
    c.textAlign = "center";
    for (const t of xticks) {
      const text = this.options.x?.names ? this.options.x.names(t) : short(t);
      const half = c.measureText(text).width / 2;
      c.fillText(text, Math.min(this.px(t), this.canvas.clientWidth - half - 1), b.bottom + 6);
    }
    c.textBaseline = "middle";
    c.textAlign = "right";
    yticks.forEach((t, k) => c.fillText(labels[k], b.left - 6, this.py(t)));
    c.fillStyle = ink("ink");
    if (this.options.x?.label) { c.textAlign = "center"; c.textBaseline = "bottom"; c.fillText(this.options.x.label, (b.left + b.right) / 2, b.bottom + 37); }
    if (this.options.y?.label) {
      c.save();
      c.translate(9, (b.top + b.bottom) / 2);
      c.rotate(-Math.PI / 2);
      c.textAlign = "center";
      c.textBaseline = "middle";
      c.fillText(this.options.y.label, 0, 0);
      c.restore();
    }
  }

  legendRows(c, width) {
    if (!this.legend) return [];
    const rows = [];
    let row = [], used = 0;
    const seen = new Set();
    for (const layer of this.layers) {
      if (!layer.label || seen.has(layer.label)) continue;
      seen.add(layer.label);
      const size = c.measureText(layer.label).width + 34;
      if (row.length && used + size > width - LEGEND) { rows.push(row); row = []; used = 0; }
      row.push({ layer, size });
      used += size;
    }
    if (row.length) rows.push(row);
    return rows;
  }

  drawLegend(c, rows) {
    rows.forEach((row, k) => {
      let x = Math.min(this.box.left, LEGEND);
      const y = 10 + 17 * k;
      for (const { layer, size } of row) {
        c.strokeStyle = c.fillStyle = ink(layer.color ?? "ink");
        if (layer.kind === "points") dot(c, x + 9, y, 4, layer.shape, layer.hollow);
        else if (layer.kind === "band") { c.globalAlpha = 0.25; c.fillRect(x, y - 5, 18, 10); c.globalAlpha = 1; }
        else { c.lineWidth = 2.2; c.setLineDash(layer.dash ?? []); c.beginPath(); c.moveTo(x, y); c.lineTo(x + 18, y); c.stroke(); c.setLineDash([]); }
        c.fillStyle = ink("ink");
        c.textAlign = "left";
        c.textBaseline = "middle";
        c.fillText(layer.label, x + 23, y);
        x += size;
      }
    });
  }

  drawBar(c) {
    const { scale, label } = this.bar;
    const b = this.box;
    const [x, w] = [b.right + 8, 11];
    const at = (v) => (scale.log ? Math.log(v / scale.low) / Math.log(scale.high / scale.low) : (v - scale.low) / (scale.high - scale.low));
    const n = Math.round(b.bottom - b.top);
    for (let k = 0; k < n; k++) {
      const t = 1 - (k + 0.5) / n;
      c.fillStyle = css(scale.colour(scale.log ? scale.low * (scale.high / scale.low) ** t : scale.low + t * (scale.high - scale.low)));
      c.fillRect(x, b.top + k, w, 1.5);
    }
    c.fillStyle = ink("muted");
    c.textAlign = "left";
    c.textBaseline = "middle";
    for (const t of ticks(scale.low, scale.high, scale.log, n / 55)) c.fillText(short(t), x + w + 4, b.bottom - at(t) * n);
    if (label) { c.fillStyle = ink("ink"); c.textAlign = "right"; c.textBaseline = "bottom"; c.fillText(label, this.canvas.clientWidth - 4, b.bottom + 37); }
  }

  // The picture on a canvas of its own, twice as fine, for a file.
  picture() {
    const [width, height] = this.size();
    const copy = document.createElement("canvas");
    copy.width = width * 2;
    copy.height = height * 2;
    this.render(copy.getContext("2d"), width, height, 2);
    return copy;
  }
}

export function ticks(low, high, log, count) {
  if (!(high > low)) return [low];
  if (log && high / low > 3 && high / low < 400) {
    const finer = [[1], [1, 3], [1, 2, 5]];
    let at = Math.log10(high / low) * 3 > count ? 0 : high / low > 30 ? 1 : 2;
    let out = decades(low, high, finer[at]);
    while (out.length < 2 && at < 2) out = decades(low, high, finer[++at]);
    return out;
  }
  if (log && high / low > 3) {
    const [a, b] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
    const step = Math.max(1, Math.ceil((b - a + 1) / Math.max(2, count)));
    const out = [];
    for (let k = a; k <= b; k += step) out.push(10 ** k);
    return out;
  }
  const raw = (high - low) / Math.max(1, count);
  const size = 10 ** Math.floor(Math.log10(raw));
  const steps = [0.5, 1, 2, 2.5, 5, 10].map((m) => m * size);
  let at = steps.findIndex((step) => step >= raw * 0.999);
  let out = multiples(low, high, steps[at]);
  // one number does not make a scale
  while (out.length < 2 && at > 0) out = multiples(low, high, steps[--at]);
  return log ? out.filter((v) => v > 0) : out;
}

function decades(low, high, parts) {
  const out = [];
  for (let k = Math.floor(Math.log10(low)); k <= Math.log10(high); k++) for (const m of parts) {
    const v = m * 10 ** k;
    if (v >= low * 0.999 && v <= high * 1.001) out.push(Number(v.toPrecision(3)));
  }
  return out;
}

function multiples(low, high, step) {
  const out = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high * (1 + 1e-12) + 1e-9 * step; k++) out.push(Number((k * step).toPrecision(10)));
  return out;
}

function short(v) {
  if (v === 0) return "0";
  const size = Math.abs(v);
  return size >= 1e4 || size < 1e-3 ? scientific(v) : String(Number(v.toPrecision(4))).replace("-", "−");
}
