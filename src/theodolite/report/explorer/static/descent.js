// Double descent: the errors of least squares on N random features, and the fit at the chosen N.

import { el, fmt, list, num, numberField, selectField, sliderField } from "./dom.js";
import { mounting, panel } from "./frame.js";
import { Plot } from "./plot.js";
import { offered } from "./source.js";

export const title = "Double descent";
export const needs = "descent/curve";
export const defaults = { data: "sine", kind: "cosine", samples: 20, noise: 0.2, ridge: 0, seed: 0, width: 20 };

const RIDGES = [0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10];
const NOISES = [0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1];

export const mount = mounting(() => View, {
  name: "descent", standard: defaults, title: "Why does a larger model generalise better?",
  intro: "Least squares on N random features of n samples. The test error peaks where the model can just interpolate the data, at N = n, and falls again beyond. Move through the widths with the slider, or with the arrow keys on the curve; a little ridge removes the peak.",
});

class View {
  constructor(frame, context, values) {
    this.frame = frame;
    this.context = context;
    const set = (name) => (v) => context.set({ [name]: v });
    const own = (name, all) => { const known = offered("descent/curve", name)?.map(Number); return known?.length ? all.filter((v) => known.includes(v)) : all; };
    this.fields = {
      data: selectField("data", [["sine", "sin 2πx"], ["digits", "handwritten digits"]], values.data, (v) => context.set({ data: v, samples: v === "sine" ? 20 : 100, width: v === "sine" ? 20 : 100 }, { push: true })),
      noise: sliderField("noise", { values: own("noise", NOISES), value: values.noise, show: (v) => fmt(v), onchange: set("noise") }),
      ridge: sliderField("ridge λ", { values: own("ridge", RIDGES), value: values.ridge, show: (v) => (v ? fmt(v) : "none"), onchange: set("ridge") }),
    };
    if (!context.offline) Object.assign(this.fields, {
      kind: selectField("features", [["cosine", "random Fourier"], ["relu", "ReLU"], ["erf", "erf"]], values.kind, set("kind")),
      samples: numberField("samples n", { low: 8, high: 200, step: 1, value: values.samples, onchange: (v) => context.set({ samples: v, width: v }) }),
      seed: numberField("seed", { low: 0, high: 99, step: 1, value: values.seed, onchange: set("seed") }),
    });
    frame.controls(...Object.values(this.fields));
    this.player = el("div", { class: "bar" });
    this.curve = frame.plot(new Plot({
      label: "Errors against the number of features", x: { label: "number of features N", log: true }, y: { label: "squared error", log: true }, height: 0.74,
      pick: (x) => this.seek(x), move: (dx, dy, big) => this.step((dx || dy) * (big ? 5 : 1)),
    }), "Errors");
    this.norm = frame.plot(new Plot({ label: "Norm of the coefficients", x: { label: "number of features N", log: true }, y: { label: "‖a‖", log: true }, height: 0.36, pick: (x) => this.seek(x) }), "Norm of the coefficients");
    this.fit = frame.plot(new Plot({ label: "Fitted function", x: { label: "x" }, y: { label: "y" }, height: 0.74 }), "Fitted function");
    this.images = el("div", { class: "images" });
    this.side = el("div", {});
    this.card = el("div", { class: "card", id: "point" });
    frame.body.replaceChildren(el("div", { class: "columns" },
      el("div", { class: "stack" }, panel("Errors", this.curve), panel("Norm of the coefficients", this.norm)),
      el("div", { class: "stack" }, this.player, this.side, this.card)));
    this.frame.body.firstChild.style.marginBottom = "1.2rem";
    frame.rows = () => this.rows();
  }

  update(values, changed) {
    this.values = values;
    for (const [name, field] of Object.entries(this.fields)) field.set(values[name]);
    if (this.fields.samples) this.fields.samples.control.max = values.data === "sine" ? 60 : 200;
    if (changed.some((n) => n !== "width")) {
      const query = Object.fromEntries(Object.entries(values).filter(([n]) => n !== "width"));
      this.frame.ask("curve", "descent/curve", query, (answer) => { this.data = answer; this.ready(); });
    } else if (this.data) this.draw();
  }

  ready() {
    const d = this.data;
    this.frame.setPython(d.python);
    this.slider = sliderField("features N", { values: d.widths, value: this.values.width, show: (v) => `${v}  (N/n = ${fmt(v / d.samples, 3)})`, onchange: (v) => this.context.set({ width: v }) });
    this.slider.classList.add("long");
    this.player.replaceChildren(this.slider);
    const digits = "images" in d.shown;
    this.side.replaceChildren(digits ? panel("Test images, and what the model takes them for", { root: this.images }) : panel("The fit of one repetition", this.fit));
    this.draw();
  }

  index() {
    const w = this.data.widths;
    let best = 0;
    w.forEach((v, k) => { if (Math.abs(v - this.values.width) < Math.abs(w[best] - this.values.width)) best = k; });
    return best;
  }

  step(by) {
    if (!this.data) return;
    const k = Math.min(Math.max(0, this.index() + by), this.data.widths.length - 1);
    this.context.set({ width: this.data.widths[k] });
  }

  seek(x) {
    if (!this.data) return;
    let best = 0;
    this.data.widths.forEach((v, k, w) => { if (Math.abs(Math.log(v / x)) < Math.abs(Math.log(w[best] / x))) best = k; });
    this.context.set({ width: this.data.widths[best] });
  }

  draw() {
    const d = this.data;
    const k = this.index();
    this.slider.set(d.widths[k]);
    const now = { kind: "rule", x: [d.widths[k]], color: "ink", dash: [] };
    const at = { kind: "rule", x: [d.samples], color: "muted" };
    const positive = (v) => v.map((y) => (num(y) > 1e-6 ? y : null));
    const tests = d.test.high.map(num).filter(Number.isFinite);
    const floor = Math.max(1e-3, Math.min(...d.test.low.map(num)) / 8);
    this.curve.draw({ y: [floor, Math.max(...tests) * 1.4], layers: [
      at, { kind: "band", x: d.widths, low: d.test.low, high: d.test.high, color: "two" },
      { kind: "line", x: d.widths, y: positive(d.train.median), color: "one", label: "training error" },
      { kind: "line", x: d.widths, y: d.test.median, color: "two", label: "test error, median and range", width: 2.4 },
      now, { kind: "points", x: [d.widths[k]], y: [d.test.median[k]], color: "two", size: 5, halo: true },
      { kind: "text", list: [{ x: d.samples, y: floor, text: "N = n", align: "left", dx: 6, dy: -10 }] }] });
    this.curve.describe(`Test error ${fmt(d.test.median[k], 3)} at ${d.widths[k]} features`);
    this.norm.draw({ layers: [at, { kind: "line", x: d.widths, y: d.norm.median, color: "three" }, now] });
    if ("images" in d.shown) this.drawImages(d.shown, k);
    else {
      const s = d.shown;
      const most = Math.max(2, ...s.y.map((v) => Math.abs(num(v)) * 1.25));
      this.fit.draw({ x: [-1, 1], y: [-most, most], layers: [
        { kind: "line", x: s.grid, y: s.truth, color: "muted", dash: [5, 4], label: "truth" },
        { kind: "line", x: s.grid, y: s.fits[k], color: "two", width: 2.2, label: `fit with N = ${d.widths[k]}` },
        { kind: "points", x: s.x, y: s.y, color: "one", size: 4.5, halo: true, label: "samples" }] });
    }
    const facts = [["features N", `${d.widths[k]}`], ["test error (median)", fmt(d.test.median[k], 3)], ["training error (median)", fmt(d.train.median[k], 3)], ["norm ‖a‖", fmt(d.norm.median[k], 3)]];
    if ("images" in d.shown) facts.push(["misclassified", `${fmt(100 * num(d.error.median[k]), 3)} %`]);
    this.card.replaceChildren(list(facts), el("p", { class: "caption" }, `${d.repetitions} repetitions with samples, noise and features of their own.`));
    this.context.tell(`N = ${d.widths[k]}: test error ${fmt(d.test.median[k], 3)}, training error ${fmt(d.train.median[k], 3)}`);
  }

  drawImages(shown, k) {
    this.images.replaceChildren(...shown.images.map((pixels, i) => {
      const canvas = el("canvas", { width: 8, height: 8, role: "img", "aria-label": `image of a ${shown.labels[i]}` });
      const c = canvas.getContext("2d");
      const image = c.createImageData(8, 8);
      pixels.forEach((v, p) => image.data.set([255 - 15 * v, 255 - 15 * v, 255 - 15 * v, 255], 4 * p));
      c.putImageData(image, 0, 0);
      const right = shown.predicted[k][i] === shown.labels[i];
      return el("figure", {}, canvas, el("figcaption", { class: right ? "right" : "wrong" }, `${right ? "✓" : "✗"} ${shown.predicted[k][i]}`));
    }));
  }

  rows() {
    const d = this.data;
    if (!d) return [];
    return [["features", "train_mse", "test_mse", "test_mse_low", "test_mse_high", "norm", "test_error"],
      ...d.widths.map((w, k) => [w, d.train.median[k], d.test.median[k], d.test.low[k], d.test.high[k], d.norm.median[k], d.error.median[k]])];
  }
}
