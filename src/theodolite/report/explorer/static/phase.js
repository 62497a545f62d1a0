// The mean-field phase plane; a picked point shows its correlation map, flow, depth scales and Jacobian spectrum.

import { diverging, sequential } from "./colour.js";
import { el, fmt, list, num, numberField, selectField, sliderField, trimmed } from "./dom.js";
import { mounting, panel } from "./frame.js";
import { Plot } from "./plot.js";
import { offered } from "./source.js";

export const title = "Phase plane";
export const needs = "phase/plane";
export const defaults = { activation: "tanh", show: "chi_1", w: 1.5, b: 0.05, depth: 16, wmax: 0, bmax: 1 };

const NAMES = ["tanh", "relu", "leaky_relu", "relu6", "elu", "selu", "celu", "gelu", "silu", "mish", "sigmoid", "softplus", "softsign",
  "hardtanh", "hardswish", "erf", "sin", "cos", "abs", "square", "gaussian", "xtanh", "x2tanh", "identity"];
// What the plane is coloured by: how it is called, its symbol, and which answer holds it.
const SHOWN = {
  chi_1: ["χ₁, growth of squared gradients per layer", "χ₁", "plane"],
  q_star: ["q*, fixed variance", "q*", "plane"],
  c_star: ["c*, fixed correlation", "c*", "correlations"],
  xi_c: ["ξ_c, depth that correlations reach", "ξ_c", "correlations"],
  xi_grad: ["ξ_∇, depth that gradients reach", "ξ_∇", "plane"],
};
const DEPTHS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 100, 200, 500, 1000];

export const mount = mounting(() => View, {
  name: "phase", standard: { b_max: defaults.bmax }, title: "Where can a deep network be trained?",
  intro: "Wide networks with weights of variance σ_w²/fan-in and biases of variance σ_b². Left of the critical line χ₁ = 1 signals of different inputs merge and gradients vanish, right of it they scatter and gradients explode. Pick a point, or move it with the arrow keys.",
});

class View {
  constructor(frame, context, values) {
    this.frame = frame;
    this.context = context;
    const set = (name) => (v) => context.set({ [name]: v });
    const names = offered("phase/plane", "activation") ?? NAMES;
    this.fields = {
      activation: selectField("activation", names, values.activation, (v) => context.set({ activation: v, wmax: 0 }, { push: true })),
      show: selectField("coloured by", Object.entries(SHOWN).map(([k, [text]]) => [k, text]), values.show, set("show")),
      w: numberField("σ_w²", { low: 0.001, high: 400, step: "any", value: values.w, onchange: set("w") }),
      b: numberField("σ_b²", { low: 0, high: 25, step: "any", value: values.b, onchange: set("b") }),
      depth: sliderField("depth of the Jacobian", { values: DEPTHS, value: values.depth, show: (v) => `${v} layers`, onchange: set("depth") }),
    };
    if (!context.offline) {
      this.fields.wmax = numberField("σ_w² up to (0: automatic)", { low: 0, high: 400, step: "any", value: values.wmax, onchange: set("wmax") });
      this.fields.bmax = numberField("σ_b² up to", { low: 0.01, high: 25, step: "any", value: values.bmax, onchange: set("bmax") });
    }
    frame.controls(...Object.values(this.fields));
    this.build();
    frame.rows = () => this.rows();
  }

  build() {
    const { frame } = this;
    this.plane = frame.plot(new Plot({
      label: "Phase plane", x: { label: "σ_w², variance of the weights" }, y: { label: "σ_b², variance of the biases" }, height: 0.82,
      pick: (x, y) => this.pick(x, y),
      move: (dx, dy, big) => this.move(dx, dy, big),
      under: (x, y) => this.under(x, y),
    }), "Phase plane");
    this.map = frame.plot(new Plot({ label: "Correlation map", x: { label: "c, correlation of two inputs" }, y: { label: "C(c) after a layer" }, height: 0.86 }), "Correlation map");
    this.flow = frame.plot(new Plot({ label: "Correlation flow", x: { label: "layer" }, y: { label: "correlation" }, height: 0.86 }), "Correlation against depth");
    this.decay = frame.plot(new Plot({ label: "Approach to the fixed correlation", x: { label: "layer" }, y: { label: "|c − c*|", log: true }, height: 0.86 }), "Depth scale");
    this.density = frame.plot(new Plot({ label: "Singular values", x: { label: "singular value of the Jacobian" }, y: { label: "density" }, height: 0.86 }), "Jacobian at criticality");
    this.card = el("div", { class: "card", id: "point" });
    this.where = el("p", { class: "caption" });
    this.hint = el("p", { class: "caption" });
    const density = panel("Singular values at criticality", this.density);
    density.append(this.where);
    frame.body.replaceChildren(el("div", { class: "columns" },
      el("div", { class: "stack" }, el("section", { class: "panel" }, this.plane.root, this.hint), this.card),
      el("div", { class: "pair" },
        panel("Correlation map", this.map), panel("Correlation against depth", this.flow),
        panel("Approach to c*", this.decay), density)));
    this.frame.body.firstChild.style.marginBottom = "1.2rem";
  }

  pick(x, y) {
    this.context.set({ w: Number(trimmed(Math.max(x, 0.001), 4)), b: Number(trimmed(Math.max(0, y), 3)) });
  }

  move(dx, dy, big) {
    if (!this.data) return;
    const step = big ? 0.1 : 0.01;
    const [w, b] = [this.values.w + dx * step * this.data.w_max, this.values.b + dy * step * this.data.b_max];
    this.pick(Math.min(Math.max(w, 0.001), this.data.w_max), Math.min(Math.max(b, 0), this.data.b_max));
  }

  under(x, y) {
    if (!this.data) return "";
    const d = this.data;
    const [r, k] = [d.sigma_b2.length, d.sigma_w2.length];
    const row = Math.min(r - 1, Math.floor((y / d.b_max) * r));
    const column = Math.min(k - 1, Math.floor((x / d.w_max) * k));
    const value = this.colours()?.[row][column];
    return `(${fmt(x, 3)}, ${fmt(y, 3)})${value === undefined ? "" : `  ${SHOWN[this.values.show][1]} = ${fmt(value, 3)}`}`;
  }

  // The numbers of the plane that are shown; undefined until they are there.
  colours() { return (SHOWN[this.values.show][2] === "plane" ? this.data : this.correlations)?.[this.values.show]; }

  update(values, changed) {
    if (!Object.hasOwn(SHOWN, values.show)) values.show = defaults.show; // an address may be written by anyone
    this.values = values;
    for (const [name, field] of Object.entries(this.fields)) field.set(values[name]);
    const has = (...names) => names.some((n) => changed.includes(n));
    if (has("activation", "wmax", "bmax")) {
      this.correlations = null;
      this.askPlane("plane", (answer) => { this.data = answer; this.showPython(); });
    } else if (has("show", "w", "b")) this.drawPlane();
    if (SHOWN[values.show][2] === "plane") this.frame.note("correlations", "");
    else if (has("activation", "wmax", "bmax", "show") && !this.correlations) this.askPlane("correlations", (answer) => { this.correlations = answer; });
    if (has("activation", "w", "b", "depth")) {
      const query = { activation: values.activation, w: values.w, b: values.b, depth: values.depth };
      this.frame.ask("point", "phase/point", query, (answer) => { this.point = answer; this.drawPoint(); });
    }
  }

  askPlane(question, keep) {
    const { activation, wmax, bmax } = this.values;
    this.frame.ask(question, `phase/${question}`, { activation, w_max: wmax || undefined, b_max: bmax }, (answer) => {
      // The plane may have been changed since it was asked.
      if (activation !== this.values.activation || wmax !== this.values.wmax || bmax !== this.values.bmax) return;
      keep(answer);
      this.drawPlane();
    });
  }

  showPython() {
    if (this.point && this.data) this.frame.setPython(`${this.point.python}\n# the plane\n${this.data.python}`);
  }

  scale() {
    const show = this.values.show;
    if (show === "chi_1") return diverging(0.25, 1, 4, true);
    if (show === "c_star") return sequential(0, 1);
    if (show === "xi_c" || show === "xi_grad") return sequential(1, 300, true);
    const values = this.data.q_star.flat().map(num).filter((v) => Number.isFinite(v) && v > 0).sort((a, b) => a - b);
    return sequential(Math.max(values[Math.floor(values.length * 0.02)] ?? 0.01, 1e-4), values[Math.floor(values.length * 0.98)] ?? 1, true);
  }

  drawPlane() {
    if (!this.data) return;
    const d = this.data;
    const lost = d.q_star.flat().filter((v) => v === "inf").length / (d.sigma_w2.length * d.sigma_b2.length);
    this.hint.textContent = lost ? `In ${fmt(100 * lost, 2)} % of the plane the variance diverges with depth; χ₁ and ξ_∇ are their limits there, and no c* exists.` : "";
    const scale = this.scale();
    const colour = (v) => scale.colour(v === Infinity ? scale.high : Math.max(v, 1e-30));
    const line = d.line;
    const parts = { stable: { x: [], y: [] }, unstable: { x: [], y: [] } };
    line.sigma_w2.forEach((w, k) => {
      for (const [name, part] of Object.entries(parts)) {
        const mine = line.stable[k] === (name === "stable");
        part.x.push(mine ? w : null);
        part.y.push(line.sigma_b2[k]);
      }
    });
    const values = this.colours();
    const layers = !values ? [] : [{ kind: "heat", values, extent: { x: [0, d.w_max], y: [0, d.b_max] }, colour, smooth: true, infinite: this.values.show === "q_star" }];
    if (parts.stable.x.some((v) => v !== null)) layers.push({ kind: "line", ...parts.stable, color: "ink", width: 2.4, halo: true, label: "critical line χ₁ = 1", aside: true });
    if (parts.unstable.x.some((v) => v !== null)) layers.push({ kind: "line", ...parts.unstable, color: "ink", width: 2.4, dash: [6, 5], label: "critical, but the variance leaves it", aside: true });
    if (line.sigma_w2.length === 1) layers.push({ kind: "points", x: line.sigma_w2, y: line.sigma_b2, color: "ink", size: 6, halo: true, label: "critical point" });
    layers.push({ kind: "mark", at: [this.values.w, this.values.b] });
    this.plane.draw({ layers, x: [0, d.w_max], y: [0, d.b_max], bar: { scale, label: SHOWN[this.values.show][1] } });
  }

  drawPoint() {
    const p = this.point;
    this.showPython();
    const phase = p.diverges ? "diverging" : p.phase;
    const words = {
      ordered: `ordered: squared gradients shrink ${fmt(1 / num(p.chi_1), 3)}× per layer`,
      chaotic: `chaotic: squared gradients grow ${fmt(p.chi_1, 3)}× per layer`,
      critical: "critical: gradients keep their size", diverging: "the variance diverges with depth",
    };
    const crit = p.critical;
    this.card.replaceChildren(
      el("p", { class: "verdict" }, el("b", { class: phase }, `σ_w² = ${fmt(p.sigma_w2)}, σ_b² = ${fmt(p.sigma_b2)}`), " is ", words[phase], "."),
      p.diverges ? el("p", { class: "caption" }, p.reason) : list([
        ["χ₁", fmt(p.chi_1, 5)], ["q*, fixed variance", fmt(p.q_star, 5)], ["c*, fixed correlation", fmt(p.c_star, 5)],
        ["ξ_c, of correlations", `${fmt(p.xi_c)} layers`], ["ξ_∇, of gradients", `${fmt(p.xi_grad)} layers`], ["ξ_q, of the variance", `${fmt(p.xi_q)} layers`],
        ["trainable to about 6 ξ_c", `${fmt(6 * num(p.xi_c), 3)} layers`],
      ]),
      el("p", { class: "caption" }, crit.exists
        ? `Critical with this σ_b²: σ_w² = ${fmt(crit.sigma_w2, 6)}, q* = ${fmt(crit.q_star, 5)}${crit.stable ? "" : " (unstable: the variance leaves it)"}.`
        : crit.reason));
    if (crit.exists) {
      this.card.append(el("button", { type: "button", onclick: () => this.context.set({ w: Number(trimmed(crit.sigma_w2, 6)) }) }, "Go to the critical line"));
    }
    this.context.tell(`σ_w² ${fmt(p.sigma_w2)}, σ_b² ${fmt(p.sigma_b2)}: ${words[phase]}`);
    this.drawCurves(p);
    this.drawDensity(p.jacobian);
  }

  drawCurves(p) {
    if (p.diverges) {
      for (const plot of [this.map, this.flow, this.decay]) plot.draw({ layers: [{ kind: "text", list: [{ x: 0.5, y: 0.5, text: "no fixed variance here" }] }], x: [0, 1], y: [plot === this.decay ? 0.1 : 0, 1] });
      return;
    }
    const [c, next] = [p.map.c.map(num), p.map.next.map(num)];
    const low = Math.min(-0.05, ...next);
    const web = { x: [], y: [] };
    const start = p.flows[0].c.map(num);
    web.x.push(start[0]); web.y.push(start[0]);
    for (let k = 0; k + 1 < Math.min(start.length, 25); k++) { web.x.push(start[k], start[k + 1]); web.y.push(start[k + 1], start[k + 1]); }
    this.map.draw({ x: [Math.min(-0.2, low), 1], y: [Math.min(-0.2, low), 1.02], layers: [
      { kind: "line", x: [-1, 1], y: [-1, 1], color: "muted", width: 1.2, dash: [4, 4] },
      { kind: "line", ...web, color: "five", width: 1.2 },
      { kind: "line", x: c, y: next, color: "one", width: 2.4, label: "C(c)" },
      { kind: "points", x: [p.c_star], y: [p.c_star], color: "two", size: 5, halo: true, label: "c*" },
      ...(num(p.c_star) < 1 ? [{ kind: "points", x: [1], y: [1], color: "muted", size: 5, hollow: true, label: "unstable" }] : []),
    ] });
    this.map.describe(`Correlation map with stable fixed point ${fmt(p.c_star)}`);
    const layer = p.flows[0].c.map((_, k) => k);
    this.flow.draw({ y: [Math.min(0, ...p.flows.flatMap((f) => f.c.map(num))) - 0.03, 1.03], layers: [
      { kind: "rule", y: [num(p.c_star)], color: "two" },
      ...p.flows.map((f, k) => ({ kind: "line", x: layer, y: f.c, color: ["one", "six", "three", "five"][k], label: `c₀ = ${f.c0}` })),
    ] });
    const gap = start.map((v) => Math.abs(v - num(p.c_star)));
    const xi = num(p.xi_c);
    const at = gap.findLastIndex((v, k) => v > 1e-5 && k <= 20);
    const layers = [{ kind: "points", x: layer, y: gap.map((v) => (v > 3e-7 ? v : null)), color: "one", size: 3, label: "|c − c*| from c₀ = 0" }];
    if (Number.isFinite(xi) && xi > 0.05 && at >= 0) {
      layers.unshift({ kind: "line", x: layer, y: layer.map((l) => gap[at] * Math.exp(-(l - at) / xi)), color: "two", dash: [6, 4], label: `exp(−l/ξ), ξ = ${fmt(xi, 3)}`, aside: true });
    }
    this.decay.draw({ layers, x: [0, layer.length - 1], y: [3e-7, 2] });
  }

  drawDensity(j) {
    const layers = [];
    let right = 0.1, top = 0.1;
    if (j.available) {
      for (const [name, color] of [["gaussian", "one"], ["orthogonal", "two"]]) {
        const d = j[name];
        if (!d.available) continue;
        const y = d.density.map(num);
        layers.push({ kind: "area", x: d.s, y, color }, { kind: "line", x: d.s, y, color, label: name === "gaussian" ? "Gaussian weights" : "orthogonal weights" });
        right = Math.max(right, num(d.s_max));
        // Spectra with mass near zero rise without bound there; the picture shows what is at visible height.
        const visible = y.filter((v, k) => Number.isFinite(v) && num(d.s[k]) > 0.08 * num(d.s_max));
        top = Math.max(top, Math.min(Math.max(...visible), 8));
      }
      this.where.textContent = `Continuous part at q* = ${fmt(j.q, 4)}${j.at_critical_point ? ", the critical point with this σ_b²" : ", with the gain that makes χ₁ = 1"}; ${j.depth} layers.`;
    } else {
      layers.push({ kind: "text", list: [{ x: 0.5, y: 0.5, text: "no spectrum here" }] });
      this.where.textContent = j.reason;
    }
    this.density.draw({ layers, x: [0, j.available ? right * 1.05 : 1], y: [0, j.available ? top * 1.08 : 1] });
  }

  rows() {
    if (!this.data) return [];
    const d = { ...this.data, ...this.correlations };
    const names = Object.keys(SHOWN).filter((name) => d[name]);
    const rows = [["sigma_w2", "sigma_b2", ...names]];
    d.sigma_b2.forEach((b, r) => d.sigma_w2.forEach((w, k) => rows.push([w, b, ...names.map((name) => d[name][r][k])])));
    return rows;
  }
}
