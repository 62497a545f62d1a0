// The phase plane of two-layer networks, and the directions in which the neurons of a small one condense.

import { diverging } from "./colour.js";
import { el, fmt, list, num, numberField, selectField, table, trimmed } from "./dom.js";
import { mounting, panel } from "./frame.js";
import { Plot } from "./plot.js";
import { offered } from "./source.js";

export const title = "Condensation";
export const needs = "condensation/plane";
export const defaults = { g: 1.75, p: 0, activation: "tanh", target: "four_points" };

const NAMES = ["tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "sigmoid", "softplus", "softsign", "erf", "sin", "cos",
  "abs", "square", "gaussian", "xtanh", "x2tanh", "identity"];
const TARGETS = [["four_points", "four points"], ["step", "a step"], ["sine", "sin 3x"], ["bump", "a bump"]];
const TITLES = { ntk: "NTK", mean_field: "mean field", xavier: "Xavier", lecun: "LeCun", he: "He", pytorch: "PyTorch" };

export const mount = mounting(() => View, {
  name: "condensation", title: "Do the neurons align?",
  intro: "Two-layer networks of width m with weight scales β₁β₂/α = m^(−γ) and β₁/β₂ = m^(−γ′). In the linear regime the input weights stay where they were; in the condensed regime they travel far and gather in a few directions, which the data and the activation decide before training. Pick a point, or move it with the arrow keys.",
});

class View {
  constructor(frame, context, values) {
    this.frame = frame;
    this.context = context;
    const set = (name) => (v) => context.set({ [name]: v });
    this.fields = {
      g: numberField("γ", { low: -1, high: 5, step: 0.05, value: values.g, onchange: set("g") }),
      p: numberField("γ′", { low: -3, high: 3, step: 0.05, value: values.p, onchange: set("p") }),
      activation: selectField("activation", offered("condensation/point", "activation") ?? NAMES, values.activation, set("activation")),
      target: selectField("data", TARGETS, values.target, set("target")),
    };
    frame.controls(...Object.values(this.fields));
    this.plane = frame.plot(new Plot({
      label: "Regimes", x: { label: "γ" }, y: { label: "γ′" }, height: 0.86,
      pick: (x, y) => this.pick(x, y),
      move: (dx, dy, big) => this.pick(this.values.g + dx * (big ? 0.25 : 0.05), this.values.p + dy * (big ? 0.25 : 0.05)),
    }), "Regimes");
    this.circle = frame.plot(new Plot({ label: "Directions", x: { label: "w, input weight" }, y: { label: "b, bias" }, height: 1, square: true }), "Condensed directions");
    this.potential = frame.plot(new Plot({ label: "Potential over the orientation", x: { label: "angle of (w, b) in units of π" }, y: { label: "Φ" }, height: 0.86 }), "Potential");
    this.points = frame.plot(new Plot({ label: "Data", x: { label: "x" }, y: { label: "y" }, height: 0.86 }), "Data");
    this.card = el("div", { class: "card", id: "point" });
    this.about = el("div", {});
    frame.body.replaceChildren(el("div", { class: "columns" },
      el("div", { class: "stack" }, el("section", { class: "panel" }, this.plane.root), this.card),
      el("div", { class: "stack" },
        el("div", { class: "pair" }, panel("Condensed directions", this.circle),
          el("div", { class: "stack" }, panel("Potential Φ", this.potential), panel("Data", this.points))),
        this.about)));
    this.frame.body.firstChild.style.marginBottom = "1.2rem";
    frame.rows = () => this.rows();
  }

  pick(x, y) {
    const r = (v, [low, high]) => Number(trimmed(Math.round(Math.min(Math.max(v, low), high) * 200) / 200, 4));
    this.context.set({ g: r(x, [0, 3]), p: r(y, [-1.5, 1.5]) });
  }

  update(values, changed) {
    this.values = values;
    for (const [name, field] of Object.entries(this.fields)) field.set(values[name]);
    if (!this.data) this.frame.ask("plane", "condensation/plane", {}, (answer) => { this.data = answer; this.drawPlane(); });
    else this.drawPlane();
    if (changed.length) {
      const query = { gamma: values.g, gamma_prime: values.p, activation: values.activation, target: values.target };
      this.frame.ask("point", "condensation/point", query, (answer) => { this.point = answer; this.drawPoint(); });
    }
  }

  drawPlane() {
    const d = this.data;
    if (!d) return;
    const scale = diverging(-1.5, 0, 1.5);
    const name = (n) => TITLES[n] ?? n;
    this.plane.draw({ x: d.gamma_range, y: d.gamma_prime_range, bar: { scale, label: "S: RD ~ m^S" }, layers: [
      { kind: "heat", values: d.exponent, extent: { x: d.gamma_range, y: d.gamma_prime_range }, colour: scale.colour, smooth: true },
      { kind: "line", x: d.boundary.gamma, y: d.boundary.gamma_prime, color: "ink", width: 2.4, halo: true, label: "critical boundary", aside: true },
      { kind: "text", bold: true, list: [{ x: 0.42, y: -0.9, text: "linear" }, { x: 2.3, y: -0.55, text: "condensed" }, { x: 1.75, y: 1.2, text: "linear" }] },
      { kind: "points", x: d.named.map((n) => n.gamma), y: d.named.map((n) => n.gamma_prime), color: "ink", shape: "diamond", size: 4.5, halo: true },
      { kind: "text", keep: true, list: d.named.map((n) => ({ x: n.gamma, y: n.gamma_prime, text: n.names.map(name).join(", "), dy: -15, align: n.gamma < 0.8 ? "center" : "left", dx: n.gamma < 0.8 ? 0 : 2 })) },
      { kind: "mark", at: [this.values.g, this.values.p] },
    ] });
    this.plane.describe(`Regimes of two-layer networks; picked point γ ${this.values.g}, γ′ ${this.values.p}`);
  }

  drawPoint() {
    const p = this.point;
    this.frame.setPython(p.python);
    const words = {
      linear: "linear: the input weights hardly move, training is that of a kernel",
      condensed: "condensed: the input weights travel far and align",
      critical: "critical: the input weights move by about their own length",
    };
    this.card.replaceChildren(
      el("p", { class: "verdict" }, el("b", { class: p.regime }, `γ = ${fmt(p.gamma)}, γ′ = ${fmt(p.gamma_prime)}`), ` is ${words[p.regime]}.`),
      list([["S, relative distance ~ m^S", fmt(p.exponent)], ["distance to the boundary", fmt(Math.abs(num(p.distance)))]]),
      el("p", { class: "caption" }, "Standard deviations at this point (α = 1):"),
      table(["width m", "β₁, outgoing", "β₂, incoming"], p.stds.map((r) => [r.width.toLocaleString("en"), fmt(r.std_a), fmt(r.std_w)])));
    this.context.tell(`γ ${fmt(p.gamma)}, γ′ ${fmt(p.gamma_prime)}: ${words[p.regime]}`);
    this.drawDirections(p.directions);
  }

  drawDirections(d) {
    const ring = Array.from({ length: 121 }, (_, k) => (2 * Math.PI * k) / 120);
    const most = Math.max(...d.potential.value.map((v) => Math.abs(num(v))), 1e-300);
    const radial = (k) => 1 + (0.32 * num(d.potential.value[k])) / most;
    const angle = d.potential.angle;
    const growing = d.found.filter((f) => f.grows);
    const color = (f) => (f.sign > 0 ? "one" : "two");
    this.circle.draw({ x: [-1.45, 1.45], y: [-1.45, 1.45], layers: [
      { kind: "line", x: ring.map(Math.cos), y: ring.map(Math.sin), color: "muted", width: 1, dash: [3, 4] },
      { kind: "line", x: angle.map((a, k) => radial(k) * Math.cos(a)), y: angle.map((a, k) => radial(k) * Math.sin(a)), color: "five", width: 1.6, label: "1 + Φ" },
      { kind: "arrows", list: d.found.filter((f) => !f.grows).map((f) => ({ from: [0, 0], to: [0.75 * f.w, 0.75 * f.b], color: "muted", dash: [4, 4], width: 1.5 })) },
      { kind: "arrows", list: growing.map((f) => ({ from: [0, 0], to: [f.w, f.b], color: color(f), width: 3 })) },
      { kind: "line", x: [], y: [], color: "one", label: "output weight > 0" },
      { kind: "line", x: [], y: [], color: "two", label: "output weight < 0" },
    ] });
    this.circle.describe(`${d.count} growing orientations on ${d.lines} lines`);
    const at = (f) => f.angle / Math.PI;
    const value = (f) => num(f.strength);
    const points = [1, -1].map((sign) => { const own = growing.filter((f) => f.sign === sign); return { kind: "points", x: own.map(at), y: own.map(value), color: sign > 0 ? "one" : "two", size: 5, halo: true }; });
    this.potential.draw({ x: [-1, 1], layers: [
      { kind: "rule", y: [0] }, { kind: "line", x: angle.map((a) => num(a) / Math.PI), y: d.potential.value, color: "five" }, ...points,
    ] });
    this.points.draw({ layers: [{ kind: "rule", y: [0] }, { kind: "points", x: d.x, y: d.y, color: "one", size: 4.5 }] });
    const p = d.p === null ? `kink at zero, leading order ${d.order}` : `multiplicity p = ${d.p}`;
    this.about.replaceChildren(
      el("p", { class: "caption" }, `${p}${d.p === null ? "" : `, coefficient ${fmt(d.coefficient, 3)}`}. ${d.count} growing orientations on ${d.lines} ${d.lines === 1 ? "line" : "lines"}${d.centred ? "; the target's mean is fitted first" : ""}. Dashed arrows: neurons there shrink.`),
      table(["(w, b)", "output weight", "Φ", "basin", ""], d.found.map((f) => [`(${fmt(f.w, 3)}, ${fmt(f.b, 3)})`, f.sign > 0 ? "+" : "−", fmt(f.strength, 3), fmt(f.basin, 3), f.grows ? "grows" : "shrinks"])));
  }

  rows() {
    const d = this.data;
    const rows = [["gamma", "gamma_prime", "relative_distance_exponent"]];
    d?.gamma_prime.forEach((p, r) => d.gamma.forEach((g, k) => rows.push([g, p, d.exponent[r][k]])));
    return rows;
  }
}
