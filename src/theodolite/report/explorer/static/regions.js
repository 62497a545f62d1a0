// The exact linear regions of a small editable network of two inputs, and its three-layer form.

import { css, diverging, hue, ink } from "./colour.js";
import { el, fmt, list, num, numberField, selectField, table } from "./dom.js";
import { mounting, panel } from "./frame.js";
import { Plot } from "./plot.js";
import { offered } from "./source.js";

export const title = "Linear regions";
export const needs = "regions/network";
export const defaults = { hidden: "6,6", seed: 57, recipe: "gaussian", edits: "", colour: "value", x: 0.2, y: 0.16, pick: -1 };

const SHAPES = ["4", "8", "5,4", "6,6", "8,8", "4,4,4", "6,6,6", "8,8,8"];

export const mount = mounting(() => View, {
  name: "regions", standard: defaults, title: "What function is a ReLU network, exactly?",
  intro: "A network with two inputs cuts the square [−1, 1]² into polygons and is affine on each. Choose a weight by its line or neuron and change it. The three-layer network at the side computes the same function, which is proved in rational arithmetic each time. Move over the square, or use the arrow keys, to read off a region.",
});

class View {
  constructor(frame, context, values) {
    this.frame = frame;
    this.context = context;
    const fresh = (name) => (v) => context.set({ [name]: v, edits: "", pick: -1 }, { push: true });
    const shapes = offered("regions/network", "hidden") ?? [...new Set([...SHAPES, values.hidden])];
    this.fields = {
      hidden: selectField("hidden layers", shapes.map((s) => [s, `2 → ${s.replaceAll(",", " → ")} → 1`]), values.hidden, fresh("hidden")),
      seed: context.offline
        ? selectField("seed", offered("regions/network", "seed"), String(values.seed), (v) => fresh("seed")(Number(v)))
        : numberField("seed", { low: 0, high: 9999, step: 1, value: values.seed, onchange: fresh("seed") }),
      colour: selectField("colour", [["value", "value"], ["gradient", "gradient"], ["pattern", "active neurons"]], values.colour, (v) => context.set({ colour: v })),
    };
    if (!context.offline) this.fields.recipe = selectField("weights", [["gaussian", "Gaussian"], ["dyadic", "sixteenths"]], values.recipe, fresh("recipe"));
    frame.controls(...Object.values(this.fields));
    this.plot = frame.plot(new Plot({
      label: "Linear regions", x: { label: "x₁" }, y: { label: "x₂" }, height: 0.98, square: true,
      pick: (x, y) => this.at(x, y), move: (dx, dy, big) => this.at(this.values.x + dx * (big ? 0.1 : 0.02), this.values.y + dy * (big ? 0.1 : 0.02)),
      under: (x, y) => { this.hover(x, y); return `(${fmt(x, 2)}, ${fmt(y, 2)})`; }, leave: () => this.hover(this.values.x, this.values.y),
    }), "Linear regions");
    this.net = el("svg", { class: "net", role: "group", "aria-label": "The network; lines are weights, neurons are biases" });
    this.editor = el("div", { class: "bar" });
    this.info = el("div", { class: "card", id: "point" });
    this.shallow = el("div", { class: "card", id: "shallow" });
    this.facts = el("div", { class: "card" });
    frame.body.replaceChildren(el("div", { class: "columns" },
      el("div", { class: "stack" }, el("section", { class: "panel" }, this.plot.root), this.facts),
      el("div", { class: "stack" },
        el("section", { class: "panel" }, el("h2", {}, "The network"), this.net, this.editor),
        el("section", { class: "panel" }, el("h2", {}, "This region"), this.info),
        el("section", { class: "panel" }, el("h2", {}, "As a three-layer network"), this.shallow))));
    this.frame.body.firstChild.style.marginBottom = "1.2rem";
    frame.rows = () => this.rows();
  }

  at(x, y) {
    const r = (v) => Math.round(Math.min(Math.max(v, -1), 1) * 500) / 500;
    this.context.set({ x: r(x), y: r(y) });
  }

  update(values, changed) {
    this.values = values;
    for (const [name, field] of Object.entries(this.fields)) field.set(values[name]);
    if (changed.some((n) => ["hidden", "seed", "recipe", "edits"].includes(n))) {
      const query = { hidden: values.hidden, seed: values.seed, recipe: values.recipe, edits: values.edits };
      this.frame.ask("network", "regions/network", query, (answer) => { this.data = answer; this.fresh(); });
    } else if (this.data) {
      if (changed.includes("pick")) this.drawNet();
      this.paint();
      this.tell();
    }
  }

  fresh() {
    this.frame.setPython(this.data.python);
    this.drawNet();
    this.paint();
    this.tell();
    this.drawShallow();
  }

  // --- the partition

  find(x, y) {
    return this.data.regions.findIndex((r) => {
      const { normal, constant } = r.half_spaces;
      return normal.every(([a, b], k) => a * x + b * y + constant[k] <= 1e-9 * (Math.abs(a) + Math.abs(b) + 1));
    });
  }

  hover(x, y) {
    if (!this.data) return;
    const k = this.find(x, y);
    if (k !== this.over) { this.over = k; this.paint(); }
    this.describe(k, x, y);
  }

  paint() {
    const d = this.data;
    if (this.over === undefined || this.over >= d.regions.length) this.over = this.find(this.values.x, this.values.y);
    const scale = this.scale();
    const steep = Math.max(...d.regions.map((r) => Math.hypot(...r.slope)), 1e-12);
    const most = Math.max(...d.regions.map((r) => r.pattern.split("1").length - 1), 1);
    const fill = (r) => {
      if (this.values.colour === "gradient") { const [a, b] = r.slope; return Math.hypot(a, b) < 1e-12 ? ink("raised") : hue(Math.atan2(b, a), Math.hypot(a, b) / steep); }
      if (this.values.colour === "pattern") return `color-mix(in oklab, ${ink("one")} ${Math.round((80 * (r.pattern.split("1").length - 1)) / most)}%, ${ink("paper")})`;
      const [cx, cy] = centre(r.vertices);
      return css(scale.colour(r.slope[0] * cx + r.slope[1] * cy + r.constant));
    };
    const edge = ink("paper");
    const cells = d.regions.map((r) => ({ points: r.vertices, fill: fill(r), stroke: edge, width: d.count > 300 ? 0.6 : 1.2 }));
    const over = d.regions[this.over];
    this.plot.draw({ x: [-1, 1], y: [-1, 1], bar: this.values.colour === "value" ? { scale, label: "f" } : undefined, layers: [
      { kind: "polygons", list: cells },
      { kind: "segments", list: d.boundary, color: "ink", width: 2.6, label: d.boundary.length ? "f = 0" : undefined },
      ...(over ? [{ kind: "polygons", label: "this region", dash: [6, 3], list: [{ points: over.vertices, stroke: ink("ink"), halo: edge, width: 2.2 }] }] : []),
      { kind: "mark", at: [this.values.x, this.values.y] },
    ] });
    this.plot.describe(`${d.count} linear regions of the network; picked point ${this.values.x}, ${this.values.y}`);
  }

  scale() {
    const { minimum, maximum } = this.data;
    if (minimum < 0 && maximum > 0) { const m = Math.max(-minimum, maximum); return diverging(-m, 0, m); }
    const d = maximum - minimum || 1;
    return diverging(minimum - 0.1 * d, (minimum + maximum) / 2, maximum + 0.1 * d);
  }

  tell() {
    const { x, y } = this.values;
    this.over = this.find(x, y);
    this.describe(this.over, x, y);
    this.paint();
    const r = this.data.regions[this.over];
    if (r) this.context.tell(`region ${this.over + 1} of ${this.data.count} at (${x}, ${y}): f = ${affine(r)}`);
  }

  describe(k, x, y) {
    const r = this.data.regions[k];
    if (!r) { this.info.replaceChildren("outside the square"); return; }
    const { normal, constant } = r.half_spaces;
    this.info.replaceChildren(
      list([["region", `${k + 1} of ${this.data.count}`], ["f(x) here", affine(r)], ["value at the point", fmt(r.slope[0] * x + r.slope[1] * y + r.constant)],
        ["area", fmt(r.area)], ["active neurons", this.pattern(r.pattern)]]),
      el("p", { class: "caption" }, `The region is where these ${constant.length} half-spaces meet:`),
      table(["half-space", "distance"], normal.map(([a, b], i) => [`${terms([a, b])} ${signed(constant[i])} ≤ 0`,
        fmt(-(a * x + b * y + constant[i]) / Math.hypot(a, b), 3)])));
  }

  pattern(bits) {
    const parts = [];
    let k = 0;
    for (const n of this.data.widths.slice(1, -1)) { parts.push(bits.slice(k, k + n).replaceAll("1", "●").replaceAll("0", "○")); k += n; }
    return parts.join(" ");
  }

  // --- the network

  places() {
    const out = [];
    this.data.layers.forEach((layer, l) => {
      const [rows, columns] = [layer.weight.length, layer.weight[0].length];
      layer.weight.forEach((row, i) => row.forEach((value, j) => out.push({ place: layer.place + i * columns + j, value, layer: l, to: i, from: j })));
      layer.bias.forEach((value, i) => out.push({ place: layer.place + rows * columns + i, value, layer: l, to: i, from: null }));
    });
    return out;
  }

  drawNet() {
    const d = this.data;
    const [width, height] = [520, 230];
    const top = Math.max(...d.widths);
    const spot = (l, i) => [42 + (l * (width - 84)) / (d.widths.length - 1), height / 2 + (i - (d.widths[l] - 1) / 2) * Math.min(44, (height - 24) / top)];
    const places = this.places();
    const most = Math.max(...places.map((p) => Math.abs(p.value)), 1e-9);
    const color = (v) => `var(--${v >= 0 ? "one" : "two"})`;
    const name = (p) => `${p.from === null ? "bias of" : `weight from ${p.layer ? `neuron ${p.from + 1}` : `x${p.from + 1}`} to`} ${p.layer + 2 === d.widths.length ? "the output" : `neuron ${p.to + 1} of layer ${p.layer + 1}`}`;
    this.net.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const nodes = [];
    for (const p of places.filter((q) => q.from !== null)) {
      const [[x0, y0], [x1, y1]] = [spot(p.layer, p.from), spot(p.layer + 1, p.to)];
      const ends = { x1: x0, y1: y0, x2: x1, y2: y1 };
      if (p.place === this.values.pick) nodes.push(el("line", { ...ends, class: "chosen" }));
      const line = el("line", { ...ends, class: "edge", stroke: color(p.value), "stroke-width": 0.5 + (3 * Math.abs(p.value)) / most, opacity: 0.35 + (0.65 * Math.abs(p.value)) / most });
      nodes.push(line, el("line", { ...ends, class: "hit", onclick: () => this.choose(p.place) }, el("title", {}, `${name(p)}: ${fmt(p.value)}`)));
    }
    d.widths.forEach((n, l) => {
      for (let i = 0; i < n; i++) {
        const [x, y] = spot(l, i);
        const bias = l ? places.find((p) => p.from === null && p.layer === l - 1 && p.to === i) : null;
        const tone = bias ? Math.round((75 * Math.abs(bias.value)) / most) : 0;
        const circle = el("circle", { cx: x, cy: y, r: 8, class: bias && bias.place === this.values.pick ? "neuron chosen" : "neuron", onclick: bias ? () => this.choose(bias.place) : null },
          el("title", {}, bias ? `${name(bias)}: ${fmt(bias.value)}` : `input x${i + 1}`));
        circle.style.fill = bias ? `color-mix(in srgb, ${color(bias.value)} ${tone}%, var(--paper))` : "var(--raised)";
        nodes.push(circle);
        if (!l) nodes.push(el("text", { x: x - 12, y: y + 4, "text-anchor": "end" }, `x${"₁₂"[i]}`));
        if (l === d.widths.length - 1) nodes.push(el("text", { x: x + 14, y: y + 4 }, "f"));
      }
    });
    this.net.replaceChildren(...nodes);
    this.drawEditor(places, name);
  }

  choose(place) { this.context.set({ pick: place }); }

  drawEditor(places, name) {
    if (this.context.offline) {
      this.editor.replaceChildren(el("p", { class: "caption" }, "Weights can be edited where the explorer is served: theodolite serve."));
      return;
    }
    const chosen = places.find((p) => p.place === this.values.pick);
    const focused = document.activeElement?.dataset?.role;
    const pick = selectField("weight or bias", [["-1", "choose …"], ...places.map((p) => [String(p.place), name(p)])], String(this.values.pick), (v) => this.choose(Number(v)));
    pick.control.dataset.role = "pick";
    const parts = [pick];
    if (chosen) {
      const slider = el("input", { type: "range", min: -3, max: 3, step: 0.02, "aria-label": `value of ${name(chosen)}`, value: chosen.value, oninput: () => { number.set(slider.value); this.edit(chosen.place, Number(slider.value)); } });
      slider.dataset.role = "value";
      const number = numberField("value", { low: -10, high: 10, step: 0.01, value: chosen.value, onchange: (v) => this.edit(chosen.place, v) });
      number.control.dataset.role = "number";
      parts.push(el("div", { class: "field" }, el("span", {}, "drag"), slider), number);
    }
    if (this.values.edits) parts.push(el("button", { type: "button", onclick: () => this.context.set({ edits: "" }) }, "Undo all changes"));
    // While a slider is held it must stay the same element.
    if (focused === "value" && chosen && this.editor.dataset.pick === String(chosen.place)) return;
    this.editor.dataset.pick = chosen ? String(chosen.place) : "";
    this.editor.replaceChildren(...parts);
    if (focused) this.editor.querySelector(`[data-role="${focused}"]`)?.focus();
  }

  edit(place, value) {
    const edits = new Map(this.values.edits ? this.values.edits.split(",").map((e) => e.split(":")) : []);
    edits.set(String(place), String(Number(value.toFixed(4))));
    this.context.set({ edits: [...edits].map(([p, v]) => `${p}:${v}`).join(",") });
  }

  // --- words

  drawShallow() {
    const d = this.data;
    const s = d.shallow;
    this.facts.replaceChildren(list([["regions", d.count], ["different affine maps", d.pieces], ["bound for these widths (Serra 2018)", d.bound.toLocaleString("en")],
      ["least and greatest value", `${fmt(d.minimum)} … ${fmt(d.maximum)}`], ["Lipschitz constant", fmt(d.lipschitz)]]));
    this.shallow.replaceChildren(
      el("p", { class: "verdict" }, el("b", { class: s.proved ? "right" : "wrong" }, s.proved ? "Equal on the whole square, proved" : "Not proved equal"),
        s.proved ? ` at all ${s.vertices} region corners over the rationals.` : "."),
      list([["layers", s.widths.join(" → ")], ["weights and biases, dense", s.parameters.toLocaleString("en")], ["selector entries", s.entries.toLocaleString("en")],
        [`largest difference at ${s.checks} points (float64)`, fmt(s.gap, 2)]]));
  }

  rows() {
    const rows = [["region", "a_1", "a_2", "b", "area", "pattern", "vertices"]];
    this.data?.regions.forEach((r, k) => rows.push([k + 1, ...r.slope, r.constant, r.area, `p${r.pattern}`, r.vertices.map((v) => v.join(" ")).join("; ")]));
    return rows;
  }
}

function centre(points) {
  return [0, 1].map((k) => points.reduce((s, p) => s + p[k], 0) / points.length);
}

function signed(v) { return `${num(v) < 0 ? "−" : "+"} ${fmt(Math.abs(num(v)), 3)}`; }
function terms([a, b]) { return `${fmt(a, 3)} x₁ ${signed(b)} x₂`; }
function affine(r) { return `${terms(r.slope)} ${signed(r.constant)}`; }
