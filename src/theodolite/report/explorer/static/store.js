// A sweep's store: axes and results, progress, any one- or two-dimensional slice, and the cells that failed.

import { edges, nearest } from "./axis.js";
import { diverging, sequential } from "./colour.js";
import { el, fmt, list, num, selectField, table } from "./dom.js";
import { mounting } from "./frame.js";
import { Plot } from "./plot.js";

export const title = "Sweep";
export const needs = "store/summary";
export const defaults = { variable: "", x: "", y: "", at: "", log: "no" };

export const mount = mounting(() => View, { name: "sweep", title: "A sweep's results", intro: "Choose a result and one or two of its dimensions; the others are fixed or averaged over. Cells that are missing stay empty, failed ones are crossed." });

class View {
  constructor(frame, context, values) {
    this.frame = frame;
    this.context = context;
    this.values = values;
    this.choices = el("div", { class: "bar" });
    this.holder = el("section", { class: "panel" });
    this.card = el("div", { class: "card", id: "point" });
    this.failures = el("div", {});
    this.refresh = el("button", { type: "button", onclick: () => this.load() }, "Read again");
    frame.controls(this.refresh);
    frame.body.replaceChildren(this.choices, el("div", { class: "columns" }, this.holder, el("div", { class: "stack" }, this.card, this.failures)));
    frame.body.lastChild.style.marginBottom = "1.2rem";
    frame.rows = () => this.rows();
    this.load();
  }

  load() {
    this.frame.ask("summary", "store/summary", {}, (answer) => { this.summary = answer; this.describe(); this.update(this.values); });
  }

  variable() {
    const numeric = this.summary.variables.filter((v) => v.numeric);
    return numeric.find((v) => v.name === this.values.variable) ?? numeric[0];
  }

  // Dimensions and places as the address has them, with what is left open filled in.
  chosen() {
    const v = this.variable();
    const x = v.dims.includes(this.values.x) ? this.values.x : v.dims[0] ?? "";
    const second = v.dims.find((d) => d !== x && d !== "seed" && this.size(d) > 1) ?? "";
    const y = this.values.y === "none" ? "" : v.dims.includes(this.values.y) && this.values.y !== x ? this.values.y : second;
    const given = this.values.at ? this.values.at.split(",").map(Number) : [];
    const at = v.dims.map((d, k) => (given.length === v.dims.length && Number.isInteger(given[k]) && given[k] < this.size(d) ? given[k] : d === "seed" || this.context.offline ? -1 : 0))
      .map((place, k) => (v.dims[k] === x || v.dims[k] === y ? -1 : place));
    return { v, x, y, at };
  }

  size(dim) { return this.summary.dims.find((d) => d.name === dim).size; }

  update(values) {
    this.values = values;
    if (!this.summary) return;
    if (!this.variable()) { this.frame.say("This store has no numeric result to show.", true); return; }
    const { v, x, y, at } = this.chosen();
    this.controls(v, x, y, at);
    const query = { variable: v.name, x, y, at: at.length ? at.join(",") : undefined };
    this.frame.ask("slice", "store/slice", query, (answer) => { this.data = answer; this.frame.setPython(answer.python); this.draw(); });
  }

  controls(v, x, y, at) {
    const focused = [...this.choices.querySelectorAll("select")].indexOf(document.activeElement);
    const set = (patch) => this.context.set(patch);
    const numeric = this.summary.variables.filter((r) => r.numeric);
    const parts = [
      selectField("result", numeric.map((r) => [r.name, r.symbol ? `${r.name} (${r.symbol})` : r.name]), v.name, (n) => set({ variable: n, x: "", y: "", at: "" })),
      selectField("to the right", v.dims, x, (d) => set({ x: d, y: d === y ? "" : y || "none" })),
      selectField("upwards", [["none", "none: a line"], ...v.dims.filter((d) => d !== x).map((d) => [d, d])], y || "none", (d) => set({ y: d, x })),
    ];
    v.dims.forEach((d, k) => {
      if (d === x || d === y) return;
      const labels = this.summary.dims.find((o) => o.name === d).labels;
      parts.push(selectField(d, [["-1", "mean"], ...labels.map((t, i) => [String(i), t])], String(at[k]), (p) => set({ x, y: y || "none", at: at.map((a, i) => (i === k ? p : a)).join(",") })));
    });
    parts.push(selectField("scale", [["no", "linear"], ["yes", "logarithmic"]], this.values.log, (t) => set({ log: t })));
    this.choices.replaceChildren(...parts);
    if (focused >= 0) this.choices.querySelectorAll("select")[focused]?.focus();
  }

  describe() {
    const s = this.summary;
    const fixed = Object.entries(s.fixed).map(([k, v]) => `${k} = ${v}`).join(", ");
    this.card.replaceChildren(
      el("p", { class: "verdict" }, el("b", {}, s.experiment), `: ${s.status}.`),
      list([["store", s.store], ["axes", s.dims.filter((d) => d.axis).map((d) => `${d.name} (${d.size})`).join(" × ")], ["failed cells", s.failed], ...(fixed ? [["fixed", fixed]] : [])]));
    this.failures.replaceChildren(...(s.failures.length ? [el("h2", {}, `Failed cells${s.failures.length < s.failed ? ` (the first ${s.failures.length})` : ""}`),
      el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Failed cells" }, table(["cell", "reason"], s.failures.map((f) => [Object.entries(f.cell).map(([k, v]) => `${k}\u00a0=\u00a0${v}`).join(", "), f.reason])))] : []));
  }

  draw() {
    const d = this.data;
    const log = this.values.log === "yes";
    const key = `${d.variable}|${d.x.name}|${d.y?.name}|${log}`;
    if (key !== this.key) {
      this.plot?.close();
      this.frame.plots = [];
      const names = (axis) => (axis.numeric ? undefined : (t) => (Number.isInteger(t) ? axis.labels[t] ?? "" : ""));
      this.plot = this.frame.plot(new Plot({
        label: d.variable, height: 0.78, x: { label: d.x.name, log: d.x.log, names: names(d.x) }, y: d.y ? { label: d.y.name, log: d.y.log, names: names(d.y) } : { label: d.variable, log },
        under: (x, y) => this.under(x, y),
      }), d.variable);
      this.caption = el("p", { class: "caption" });
      this.holder.replaceChildren(el("h2", {}, d.variable), this.plot.root, this.caption);
      this.key = key;
    }
    this.caption.textContent = [d.about, d.mean_over.length ? `mean over ${d.mean_over.join(", ")}` : ""].filter(Boolean).join("; ");
    if (!d.x.name) { this.holder.replaceChildren(el("h2", {}, d.variable), el("p", { class: "verdict" }, fmt(d.values, 6))); this.key = ""; return; }
    if (d.y) this.drawHeat(d, log); else this.drawLine(d);
    this.context.tell(`${d.variable} over ${d.x.name}${d.y ? ` and ${d.y.name}` : ""}`);
  }

  drawLine(d) {
    const { positions } = d.x;
    const ends = positions.length > 1 ? positions : edges(d.x);
    const x = [ends[0], ends[ends.length - 1]];
    this.plot.draw({ x, layers: [{ kind: "line", x: positions, y: d.values, color: "one" }, { kind: "points", x: positions, y: d.values, color: "one", size: 4 }] });
  }

  drawHeat(d, log) {
    const values = d.values.flat().map(num).filter((v) => Number.isFinite(v) && (!log || v > 0));
    let [low, high] = [Math.min(...values), Math.max(...values)];
    if (!values.length) [low, high] = [log ? 0.1 : 0, 1];
    if (low === high) [low, high] = log ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
    const scale = !log && low < 0 && high > 0 ? diverging(-Math.max(-low, high), 0, Math.max(-low, high)) : sequential(low, high, log);
    const [xedges, yedges] = [edges(d.x), edges(d.y)];
    const state = Array.isArray(d.state?.[0]) ? d.state : undefined;
    this.plot.draw({ x: [xedges[0], xedges[xedges.length - 1]], y: [yedges[0], yedges[yedges.length - 1]], bar: { scale, label: d.variable },
      layers: [{ kind: "cells", values: d.values, state, x: d.x.positions, y: d.y.positions, xedges, yedges, colour: (v) => scale.colour(log ? Math.max(v, low) : v) }] });
  }

  under(x, y) {
    const d = this.data;
    const k = nearest(d.x, x);
    if (!d.y) return `${d.x.name} = ${d.x.labels[k]}: ${fmt(d.values[k])}`;
    const r = nearest(d.y, y);
    return `${d.x.name} = ${d.x.labels[k]}, ${d.y.name} = ${d.y.labels[r]}: ${fmt(d.values[r][k])}`;
  }

  rows() {
    const d = this.data;
    if (!d) return [];
    if (!d.x.name) return [[d.variable], [d.values]];
    if (!d.y) return [[d.x.name, d.variable], ...d.x.labels.map((label, k) => [label, d.values[k]])];
    const rows = [[d.x.name, d.y.name, d.variable]];
    d.y.labels.forEach((b, r) => d.x.labels.forEach((a, k) => rows.push([a, b, d.values[r][k]])));
    return rows;
  }
}
