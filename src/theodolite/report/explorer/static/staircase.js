// A training run to play through: function, features, eigenvalues, loss and ε-rank in step.

import { SERIES } from "./colour.js";
import { el, fmt, list, num, numberField, selectField, sliderField } from "./dom.js";
import { mounting, panel } from "./frame.js";
import { Plot } from "./plot.js";
import { offered } from "./source.js";

export const title = "ε-rank";
export const needs = "staircase/run";
export const defaults = { activation: "tanh", target: "three_cosines", optimizer: "adam", init: "torch", depth: 2, width: 30, steps: 2000, seed: 0, eps: 0.001, look: 0 };

const TARGETS = [["three_cosines", "cos x + cos 2x + cos 10x"], ["three_sines", "three sines"], ["two_kinks", "two kinks"]];
const INITS = [["torch", "PyTorch's"], ["deterministic", "deterministic"]];

export const mount = mounting(() => View, {
  name: "staircase", standard: defaults, title: "How many neurons are linearly independent, and when?",
  intro: "A network learns a function of one variable. The ε-rank counts the eigenvalues of its last hidden layer's mass matrix above ε: neurons that are no combinations of the others. Early in training there are few; the loss falls where the rank rises. Play the run, or step through it.",
});

class View {
  constructor(frame, context, values) {
    this.frame = frame;
    this.context = context;
    const set = (name) => (v) => context.set({ [name]: v, look: 0 });
    const own = (name, all) => { const known = offered("staircase/run", name); return known?.length ? all.filter((o) => known.includes(Array.isArray(o) ? o[0] : o)) : all; };
    this.fields = {
      activation: selectField("activation", own("activation", ["tanh", "relu", "elu", "cos", "sin"]), values.activation, set("activation")),
      init: selectField("initialisation", own("init", INITS), values.init, set("init")),
    };
    if (!context.offline) Object.assign(this.fields, {
      target: selectField("target", TARGETS, values.target, set("target")),
      optimizer: selectField("optimiser", [["adam", "Adam"], ["sgd", "gradient descent"]], values.optimizer, set("optimizer")),
      width: numberField("neurons per layer", { low: 4, high: 50, step: 1, value: values.width, onchange: set("width") }),
      depth: numberField("hidden layers", { low: 1, high: 3, step: 1, value: values.depth, onchange: set("depth") }),
      steps: numberField("steps", { low: 100, high: 4000, step: 100, value: values.steps, onchange: set("steps") }),
      seed: numberField("seed", { low: 0, high: 99, step: 1, value: values.seed, onchange: set("seed") }),
    });
    this.player = el("div", { class: "bar" });
    frame.controls(...Object.values(this.fields));
    this.fit = frame.plot(new Plot({ label: "Function", x: { label: "x" }, y: { label: "f" }, height: 0.62 }), "Function");
    this.features = frame.plot(new Plot({ label: "Features", x: { label: "x" }, y: { label: "neurons" }, height: 0.62 }), "Features of the last hidden layer");
    this.eigen = frame.plot(new Plot({ label: "Eigenvalues", x: { label: "number" }, y: { label: "eigenvalue", log: true }, height: 0.9 }), "Eigenvalues of the mass matrix");
    const seek = { pick: (x) => this.seek(x), move: (dx, dy, big) => this.step((dx || dy) * (big ? 5 : 1)) };
    this.loss = frame.plot(new Plot({ label: "Loss", x: { label: "step" }, y: { label: "loss", log: true }, height: 0.4, ...seek }), "Loss");
    this.rank = frame.plot(new Plot({ label: "ε-rank", x: { label: "step" }, y: { label: "ε-rank" }, height: 0.4, ...seek }), "ε-rank");
    this.card = el("div", { class: "card", id: "point" });
    frame.body.replaceChildren(this.player, el("div", { class: "pair" },
      panel("Function", this.fit), panel("Features of the last hidden layer", this.features),
      panel("Eigenvalues of the mass matrix", this.eigen),
      el("div", { class: "stack" }, panel("ε-rank", this.rank), panel("Loss", this.loss))), this.card);
    this.card.style.margin = "1rem 0 1.2rem";
    frame.rows = () => this.rows();
  }

  update(values, changed) {
    this.values = values;
    for (const [name, field] of Object.entries(this.fields)) field.set(values[name]);
    if (changed.some((n) => n !== "look")) {
      this.stop();
      if (!this.context.offline) this.context.tell("training …");
      const query = Object.fromEntries(Object.entries(values).filter(([n]) => n !== "look"));
      this.frame.ask("run", "staircase/run", query, (answer) => { this.data = answer; this.ready(); });
    } else if (this.data) this.draw();
  }

  ready() {
    const d = this.data;
    this.frame.setPython(d.python);
    this.values.look = Math.min(Math.max(0, Math.round(this.values.look)), d.step.length - 1);
    this.button = el("button", { type: "button", class: "main", onclick: () => (this.timer ? this.stop() : this.play()) }, "Play");
    this.slider = sliderField("step", { values: d.step, value: d.step[this.values.look], show: (v) => v.toLocaleString("en"),
      onchange: (v) => { this.stop(); this.context.set({ look: d.step.indexOf(v) }); } });
    this.player.replaceChildren(this.button, this.slider);
    this.slider.classList.add("long");
    this.context.tell(`${d.step.length} looks at ${d.step[d.step.length - 1]} steps`);
    const all = d.features.flat(2).map(num);
    this.spread = [Math.min(...all), Math.max(...all)];
    this.eigenRange = [1e-9, Math.max(...d.eigenvalues.flat().map(num)) * 2];
    const f = [...d.output.flat().map(num), ...d.target.map(num)].filter(Number.isFinite);
    this.fRange = [Math.min(...f) - 0.1, Math.max(...f) + 0.1];
    this.draw();
  }

  play() {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) { this.step(1); return; }
    if (this.values.look >= this.data.step.length - 1) this.context.set({ look: 0 });
    this.button.textContent = "Pause";
    this.timer = setInterval(() => { if (this.values.look >= this.data.step.length - 1) this.stop(); else this.step(1); }, 140);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    if (this.button) this.button.textContent = "Play";
  }

  step(by) {
    if (!this.data) return;
    this.context.set({ look: Math.min(Math.max(0, this.values.look + by), this.data.step.length - 1) });
  }

  seek(step) {
    if (!this.data) return;
    let best = 0;
    this.data.step.forEach((s, k) => { if (Math.abs(s - step) < Math.abs(this.data.step[best] - step)) best = k; });
    this.stop();
    this.context.set({ look: best });
  }

  draw() {
    const d = this.data;
    const k = Math.min(Math.max(0, Math.round(this.values.look)), d.step.length - 1);
    this.slider.set(d.step[k]);
    this.fit.draw({ y: this.fRange, layers: [
      { kind: "line", x: d.x, y: d.target, color: "muted", dash: [5, 4], label: "target" },
      { kind: "line", x: d.x, y: d.output[k], color: "one", label: "network", width: 2.4 }] });
    this.features.draw({ y: this.spread[0] === this.spread[1] ? undefined : this.spread, layers: d.features[k].map((y, n) => ({ kind: "line", x: d.x, y, color: SERIES[n % 6], width: 1.3, alpha: 0.75 })) });
    const values = d.eigenvalues[k].map((v) => Math.max(num(v), 1e-300));
    const above = (yes) => ({ x: values.map((v, n) => ((v > d.eps) === yes ? n + 1 : null)), y: values });
    const number = (points) => ({ x: points.x.map((x) => (x === null ? NaN : x)), y: points.y });
    this.eigen.draw({ x: [0, d.width + 1], y: this.eigenRange, layers: [
      { kind: "rule", y: [d.eps], color: "two" },
      { kind: "points", ...number(above(true)), color: "one", label: "above ε" },
      { kind: "points", ...number(above(false)), color: "muted", hollow: true, size: 3.5, label: "below ε" }] });
    const now = { kind: "rule", x: [d.step[k]], color: "ink", dash: [] };
    this.loss.draw({ layers: [{ kind: "line", x: d.step, y: d.loss, color: "two" }, now, { kind: "points", x: [d.step[k]], y: [d.loss[k]], color: "two", size: 5, halo: true }] });
    this.rank.draw({ y: [0, Math.max(...d.rank) * 1.12 + 1], layers: [{ kind: "line", x: d.step, y: d.rank, color: "one", step: true }, now, { kind: "points", x: [d.step[k]], y: [d.rank[k]], color: "one", size: 5, halo: true }] });
    this.card.replaceChildren(list([["step", d.step[k].toLocaleString("en")], ["ε-rank, last hidden layer", `${d.rank[k]} of ${d.width}`],
      ["ε-ranks by layer", d.ranks[k].join(", ")], ["loss", fmt(d.loss[k])], ["ε", fmt(d.eps)]]));
    if (!this.timer) this.context.tell(`step ${d.step[k]}: ε-rank ${d.rank[k]} of ${d.width}, loss ${fmt(d.loss[k], 3)}`);
  }

  rows() {
    const d = this.data;
    if (!d) return [];
    const n = d.eigenvalues[0].length;
    return [["step", "loss", "epsilon_rank", ...Array.from({ length: n }, (_, i) => `eigenvalue_${i + 1}`)],
      ...d.step.map((s, k) => [s, d.loss[k], d.rank[k], ...d.eigenvalues[k]])];
  }
}
