// What a picture is made of: each kind of layer draws itself on a canvas, by the axes of its plot.

import { css, ink } from "./colour.js";
import { num } from "./dom.js";

export const FONT = '12px system-ui, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif';

export function dot(c, x, y, r, shape = "circle", hollow = false) {
  c.beginPath();
  if (shape === "square") c.rect(x - r, y - r, 2 * r, 2 * r);
  else if (shape === "triangle") { c.moveTo(x, y - 1.2 * r); c.lineTo(x + 1.1 * r, y + r); c.lineTo(x - 1.1 * r, y + r); c.closePath(); }
  else if (shape === "diamond") { c.moveTo(x, y - 1.35 * r); c.lineTo(x + 1.35 * r, y); c.lineTo(x, y + 1.35 * r); c.lineTo(x - 1.35 * r, y); c.closePath(); }
  else c.arc(x, y, r, 0, 7);
  if (hollow) { c.lineWidth = 1.8; c.stroke(); } else c.fill();
}

function trace(c, layer, plot) {
  let open = false, before = null;
  for (let k = 0; k < layer.x.length; k++) {
    const [x, y] = [plot.px(layer.x[k]), plot.py(layer.y[k])];
    if (!Number.isFinite(x) || !Number.isFinite(y)) { open = false; continue; }
    const far = Math.max(-1e5, Math.min(1e5, y));
    if (!open) c.moveTo(x, far);
    else { if (layer.step) c.lineTo(x, before); c.lineTo(x, far); }
    open = true;
    before = far;
  }
}

export const DRAW = {
  heat(c, layer, plot) {
    const [rows, columns] = [layer.values.length, layer.values[0].length];
    const image = document.createElement("canvas");
    image.width = columns;
    image.height = rows;
    const paint = image.getContext("2d");
    const pixels = paint.createImageData(columns, rows);
    layer.values.forEach((row, r) => row.forEach((raw, k) => {
      const v = num(raw);
      const color = Number.isNaN(v) || (v === Infinity && layer.infinite) ? null : layer.colour(v);
      const at = 4 * ((rows - 1 - r) * columns + k);
      if (color) { pixels.data.set(color.map(Math.round), at); pixels.data[at + 3] = 255; }
      else pixels.data[at + 3] = 0;
    }));
    paint.putImageData(pixels, 0, 0);
    c.imageSmoothingEnabled = layer.smooth ?? false;
    const [x0, x1] = [plot.px(layer.extent.x[0]), plot.px(layer.extent.x[1])];
    const [y0, y1] = [plot.py(layer.extent.y[1]), plot.py(layer.extent.y[0])];
    c.drawImage(image, x0, y0, x1 - x0, y1 - y0);
  },
  cells(c, layer, plot) {
    // cells with edges of their own, for axes of unequal steps; a failed one is crossed where its value stands
    layer.values.forEach((row, r) => row.forEach((raw, k) => {
      const v = num(raw);
      const [x0, x1] = [plot.px(layer.xedges[k]), plot.px(layer.xedges[k + 1])];
      const [y0, y1] = [plot.py(layer.yedges[r]), plot.py(layer.yedges[r + 1])];
      const state = layer.state?.[r]?.[k] ?? 1;
      if (!Number.isNaN(v)) { c.fillStyle = css(layer.colour(v)); c.fillRect(x0, y1, x1 - x0 + 0.6, y0 - y1 + 0.6); }
      else if (state === 2) {
        c.strokeStyle = ink("bad");
        c.lineWidth = 1.6;
        const [mx, my] = [plot.px(layer.x[k]), plot.py(layer.y[r])];
        const s = Math.max(2.5, 0.56 * Math.min(mx - x0, x1 - mx, y0 - my, my - y1, 9));
        c.beginPath(); c.moveTo(mx - s, my - s); c.lineTo(mx + s, my + s); c.moveTo(mx + s, my - s); c.lineTo(mx - s, my + s); c.stroke();
      }
    }));
  },
  line(c, layer, plot) {
    c.strokeStyle = layer.css ?? ink(layer.color ?? "ink");
    c.globalAlpha = layer.alpha ?? 1;
    c.lineWidth = layer.width ?? 2;
    c.lineJoin = "round";
    c.setLineDash(layer.dash ?? []);
    c.beginPath();
    trace(c, layer, plot);
    if (layer.halo) { const keep = c.strokeStyle; c.strokeStyle = ink("paper"); c.lineWidth = (layer.width ?? 2) + 2.5; c.stroke(); c.strokeStyle = keep; c.lineWidth = layer.width ?? 2; }
    c.stroke();
    c.setLineDash([]);
    c.globalAlpha = 1;
  },
  band(c, layer, plot) {
    c.fillStyle = ink(layer.color);
    c.globalAlpha = 0.16;
    c.beginPath();
    const n = layer.x.length;
    const floor = plot.range.y[0];
    const y = (v) => plot.py(plot.options.y?.log ? Math.max(num(v), floor) : v);
    for (let k = 0; k < n; k++) c.lineTo(plot.px(layer.x[k]), y(layer.high[k]));
    for (let k = n - 1; k >= 0; k--) c.lineTo(plot.px(layer.x[k]), y(layer.low[k]));
    c.fill();
    c.globalAlpha = 1;
  },
  area(c, layer, plot) {
    c.fillStyle = ink(layer.color);
    c.globalAlpha = 0.13;
    c.beginPath();
    c.moveTo(plot.px(layer.x[0]), plot.box.bottom);
    layer.x.forEach((v, k) => c.lineTo(plot.px(v), Math.max(plot.py(layer.y[k]), -1e5)));
    c.lineTo(plot.px(layer.x[layer.x.length - 1]), plot.box.bottom);
    c.fill();
    c.globalAlpha = 1;
  },
  points(c, layer, plot) {
    c.strokeStyle = c.fillStyle = ink(layer.color ?? "ink");
    layer.x.forEach((x, k) => {
      const [a, b] = [plot.px(x), plot.py(layer.y[k])];
      if (!Number.isFinite(a) || !Number.isFinite(b)) return;
      if (layer.halo) { c.fillStyle = ink("paper"); dot(c, a, b, (layer.size ?? 4) + 2, layer.shape); c.fillStyle = ink(layer.color ?? "ink"); }
      dot(c, a, b, layer.size ?? 4, layer.shape, layer.hollow);
    });
  },
  polygons(c, layer, plot) {
    for (const p of layer.list) {
      c.beginPath();
      p.points.forEach(([x, y]) => c.lineTo(plot.px(x), plot.py(y)));
      c.closePath();
      if (p.fill) { c.fillStyle = p.fill; c.fill(); }
      if (p.halo) { c.strokeStyle = p.halo; c.lineWidth = (p.width ?? 1) + 2.5; c.stroke(); }
      if (p.stroke) { c.strokeStyle = p.stroke; c.lineWidth = p.width ?? 1; c.setLineDash(layer.dash ?? []); c.stroke(); c.setLineDash([]); }
    }
  },
  segments(c, layer, plot) {
    c.strokeStyle = ink(layer.color ?? "ink");
    c.lineWidth = layer.width ?? 2;
    c.beginPath();
    for (const [[a, b], [d, e]] of layer.list) { c.moveTo(plot.px(a), plot.py(b)); c.lineTo(plot.px(d), plot.py(e)); }
    c.stroke();
  },
  arrows(c, layer, plot) {
    for (const a of layer.list) {
      const [x0, y0, x1, y1] = [plot.px(a.from[0]), plot.py(a.from[1]), plot.px(a.to[0]), plot.py(a.to[1])];
      const angle = Math.atan2(y1 - y0, x1 - x0);
      c.strokeStyle = c.fillStyle = ink(a.color);
      c.lineWidth = a.width ?? 2.5;
      c.globalAlpha = a.alpha ?? 1;
      c.setLineDash(a.dash ?? []);
      c.beginPath(); c.moveTo(x0, y0); c.lineTo(x1 - 6 * Math.cos(angle), y1 - 6 * Math.sin(angle)); c.stroke();
      c.setLineDash([]);
      c.beginPath();
      c.moveTo(x1, y1);
      for (const s of [0.42, -0.42]) c.lineTo(x1 - 12 * Math.cos(angle + s), y1 - 12 * Math.sin(angle + s));
      c.fill();
      c.globalAlpha = 1;
    }
  },
  rule(c, layer, plot) {
    c.strokeStyle = ink(layer.color ?? "muted");
    c.lineWidth = layer.width ?? 1.3;
    c.setLineDash(layer.dash ?? [4, 4]);
    c.beginPath();
    for (const v of layer.x ?? []) { c.moveTo(plot.px(v), plot.box.top); c.lineTo(plot.px(v), plot.box.bottom); }
    for (const v of layer.y ?? []) { c.moveTo(plot.box.left, plot.py(v)); c.lineTo(plot.box.right, plot.py(v)); }
    c.stroke();
    c.setLineDash([]);
  },
  text(c, layer, plot) {
    c.font = layer.bold ? `600 ${FONT}` : FONT;
    for (const { x, y, text, align = "center", dy = 0, dx = 0 } of layer.list) {
      const [size, left] = [c.measureText(text).width, align === "center" ? 0.5 : align === "right" ? 1 : 0];
      let a = plot.px(x) + dx;
      const b = plot.py(y) + dy;
      // Inside the axes, so that nothing is cut off on a narrow screen.
      if (layer.keep) a = Math.min(Math.max(a, plot.box.left + 4 + left * size), plot.box.right - 4 - (1 - left) * size);
      c.textAlign = align;
      c.textBaseline = "middle";
      c.lineWidth = 3.5;
      c.lineJoin = "round";
      c.strokeStyle = ink("paper");
      c.globalAlpha = 0.8;
      c.strokeText(text, a, b);
      c.globalAlpha = 1;
      c.fillStyle = ink(layer.color ?? "ink");
      c.fillText(text, a, b);
    }
    c.font = FONT;
  },
  // the picked point: a ring that shows on every ground
  marked(c, layer, plot) {
    const [x, y] = [plot.px(layer.at[0]), plot.py(layer.at[1])];
    const b = plot.box;
    if (x < b.left - 9 || x > b.right + 9 || y < b.top - 9 || y > b.bottom + 9) return;
    for (const [color, width] of [["paper", 5], ["ink", 2]]) {
      c.strokeStyle = ink(color);
      c.lineWidth = width;
      c.beginPath();
      c.arc(x, y, 7, 0, 7);
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) { c.moveTo(x + 7 * dx, y + 7 * dy); c.lineTo(x + 12 * dx, y + 12 * dy); }
      c.stroke();
    }
  },
};
