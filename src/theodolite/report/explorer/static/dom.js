// Elements, numbers as text, and files to keep. Text always goes in as text, never as markup.

export function el(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "circle", "g", "text", "title", "rect"].includes(tag) && attributes.svg !== false;
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false || name === "svg") continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.setAttribute("class", value);
    else if (name === "value" || name === "checked") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((c) => c !== null && c !== undefined));
  return node;
}

// What the server sends for an infinity is the text "inf", for NaN null.
export function num(value) {
  if (value === "inf") return Infinity;
  if (value === "-inf") return -Infinity;
  return value === null || value === undefined ? NaN : value;
}

export function fmt(value, digits = 4) {
  const v = num(value);
  if (Number.isNaN(v)) return "–";
  if (!Number.isFinite(v)) return v > 0 ? "∞" : "−∞";
  if (v === 0) return "0";
  const size = Math.abs(v);
  if (size >= 1e5 || size < 1e-3) return scientific(v, Math.max(2, digits - 1));
  return String(Number(v.toPrecision(digits))).replace("-", "−");
}

// lead · 10^k with a raised exponent
export function scientific(v, digits = 3) {
  const k = Math.floor(Math.log10(Math.abs(v)) + 1e-9);
  const lead = Number((v / 10 ** k).toPrecision(digits));
  const raised = String(k).replace(/./g, (d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d] ?? "⁻");
  return (lead === 1 ? "10" : lead === -1 ? "−10" : `${String(lead).replace("-", "−")}·10`) + raised;
}

export function trimmed(value, digits = 4) { return String(Number(Number(value).toPrecision(digits))); }

let counter = 0;

export function selectField(label, options, value, onchange) {
  const id = `f${++counter}`;
  const listed = options.map((o) => (Array.isArray(o) ? o : [o, o]));
  const control = el("select", { id, onchange: () => onchange(control.value) },
    listed.map(([v, text]) => el("option", { value: v }, text)));
  control.value = value;
  const field = el("div", { class: "field" }, el("label", { for: id }, label), control);
  field.set = (v) => { control.value = v; };
  field.control = control;
  return field;
}

// A slider over positions 0…steps whose value is `at(position)`; the label shows the value as text.
export function sliderField(label, { values, value, show = fmt, onchange }) {
  const id = `f${++counter}`;
  const output = el("output", { for: id });
  const control = el("input", { id, type: "range", min: 0, max: values.length - 1, step: 1,
    oninput: () => { tell(); onchange(values[Number(control.value)]); } });
  const tell = () => {
    const text = show(values[Number(control.value)]);
    output.textContent = text;
    control.setAttribute("aria-valuetext", text);
  };
  const field = el("div", { class: "field" },
    el("div", { class: "top" }, el("label", { for: id }, label), output), control);
  field.set = (v) => {
    let best = 0;
    values.forEach((candidate, k) => { if (Math.abs(candidate - v) < Math.abs(values[best] - v)) best = k; });
    control.value = best;
    tell();
  };
  field.control = control;
  field.set(value);
  return field;
}

export function numberField(label, { low, high, step, value, onchange }) {
  const id = `f${++counter}`;
  const control = el("input", { id, type: "number", min: low, max: high, step,
    onchange: () => { const v = Number(control.value); if (control.value !== "" && v >= low && v <= Number(control.max)) onchange(v); } });
  const field = el("div", { class: "field" }, el("label", { for: id }, label), control);
  field.set = (v) => { if (document.activeElement !== control) control.value = v; };
  field.control = control;
  field.set(value);
  return field;
}

export function save(name, content, type) {
  const blob = content instanceof Blob ? content : new Blob([content], { type });
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 5000);
}

export function csv(rows) {
  const cell = (v) => {
    const text = v === null || v === undefined ? "" : String(v);
    // A text that begins like a formula would be run by a spreadsheet.
    const safe = typeof v === "string" && /^[=+@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return rows.map((row) => row.map(cell).join(",")).join("\n") + "\n";
}

export function list(pairs) {
  return el("dl", {}, pairs.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

export function table(head, rows) {
  return el("div", { class: "wide" }, el("table", {},
    el("thead", {}, el("tr", {}, head.map((h) => el("th", { scope: "col" }, h)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((c) => el("td", {}, c)))))));
}

export function codeBlock() {
  const pre = el("pre", { tabindex: 0, "aria-label": "Python code" });
  const button = el("button", { type: "button", onclick: async () => {
    try {
      await navigator.clipboard.writeText(pre.textContent);
      button.textContent = "copied";
    } catch {
      const range = document.createRange();
      range.selectNodeContents(pre);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      button.textContent = "selected";
    }
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  } }, "copy");
  const block = el("div", { class: "code" }, pre, button);
  block.set = (text) => { pre.textContent = text.trimEnd(); };
  return block;
}
