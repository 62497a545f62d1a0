// What all views share: the heading with its tools, panels, and the state in the address.

import { ink } from "./colour.js";
import { codeBlock, csv, el, save } from "./dom.js";
import { Refused, ask } from "./source.js";

export function readState() {
  const [view, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { view, values: Object.fromEntries(new URLSearchParams(query)) };
}

export function address(view, values, defaults) {
  const kept = Object.entries(values).filter(([k, v]) => v !== undefined && v !== null && String(v) !== String(defaults[k] ?? ""));
  const query = new URLSearchParams(kept.map(([k, v]) => [k, String(v)])).toString().replaceAll("%2C", ",").replaceAll("%3A", ":");
  return `#/${view}${query ? `?${query}` : ""}`;
}

export function panel(title, plot, caption) {
  return el("section", { class: "panel" }, el("h2", {}, title), plot.root ?? plot, caption ? el("p", { class: "caption" }, caption) : null);
}

// How main.js opens a view: a frame with its heading, and what fills it. The class comes as a function, since it stands below.
export function mounting(view, about) {
  return (root, context, values) => {
    const frame = new Frame(root, about);
    const shown = new (view())(frame, context, values);
    return { update: (v, changed) => shown.update(v, changed), close: () => { shown.stop?.(); frame.close(); } };
  };
}

// A view's page: heading, controls, tools, a place for messages, and the body.
export class Frame {
  constructor(root, { title, intro, name, standard = {} }) {
    this.name = name;
    this.standard = standard; // parameters as they are when nobody chose them
    this.plots = [];
    this.wanted = {};
    this.asking = new Set();
    this.notes = {};
    this.message = el("p", { class: "notice", role: "alert" });
    this.code = codeBlock();
    this.bar = el("div", { class: "bar" });
    this.body = el("div", {});
    const tool = (text, about, act) => el("button", { type: "button", title: about, "aria-label": about, onclick: act }, text);
    this.tools = el("div", { class: "tools push" },
      tool("PNG", "Save the pictures as PNG", () => this.png()),
      tool("CSV", "Save the numbers as CSV", () => save(`theodolite_${name}.csv`, csv(this.rows?.() ?? []), "text/csv")),
      tool("Python", "Save the Python code for what is shown", () => save(`theodolite_${name}.py`, this.python ?? "", "text/x-python")));
    this.bar.append(this.tools);
    root.replaceChildren(el("div", { class: "head" }, el("h1", {}, title), el("span", { class: "working" }, "computing …")), el("p", { class: "intro" }, intro), this.bar, this.message, this.body,
      el("section", { class: "panel" }, el("h2", {}, "The same in Python"), this.code));
    this.root = root;
    this.clear();
  }

  controls(...fields) { this.bar.prepend(...fields); }

  plot(plot, title) { this.plots.push({ plot, title }); return plot; }

  say(text, error = false) {
    this.message.textContent = text;
    this.message.classList.toggle("error", error);
  }

  clear() { this.say(""); }

  setPython(text) { this.python = text; this.code.set(text); }

  // Ask, one question of a kind at a time; while it is under way only the latest further one is kept, as when a point is dragged.
  async ask(key, endpoint, query, show) {
    this.wanted[key] = { endpoint, query, show };
    if (this.asking.has(key)) return;
    this.asking.add(key);
    this.root.classList.add("busy");
    this.root.setAttribute("aria-busy", "true");
    try {
      while (this.wanted[key] && !this.closed) {
        const question = this.wanted[key];
        delete this.wanted[key];
        await this.answer(key, question);
      }
    } finally {
      this.asking.delete(key);
      if (!this.asking.size && !this.closed) this.idle();
    }
  }

  async answer(key, { endpoint, query, show }) {
    try {
      const answer = await ask(endpoint, query, this.standard);
      if (this.closed) return;
      this.note(key, [answer.note, ...(answer.notes ?? [])].filter(Boolean).join(" "));
      show(answer);
    } catch (error) {
      if (this.closed) return;
      if (error instanceof Refused) this.note(key, error.message, true);
      else if (error instanceof TypeError && /fetch|network/i.test(error.message)) this.note(key, "The server does not answer; start it again with: theodolite serve", true);
      else throw error;
    }
  }

  // What is to be told of one kind of question, until its next answer: a refusal stays while other answers come in.
  note(key, text, error = false) {
    this.notes[key] = { text, error: error && text !== "" };
    const all = Object.values(this.notes);
    this.say([...new Set(all.map((n) => n.text))].filter(Boolean).join(" "), all.some((n) => n.error));
  }

  idle() {
    this.root.classList.remove("busy");
    this.root.removeAttribute("aria-busy");
  }

  png() {
    const pictures = this.plots.filter(({ plot }) => plot.root.isConnected && plot.box).map(({ plot, title }) => ({ image: plot.picture(), title }));
    if (!pictures.length) return;
    const [gap, head] = [40, 44];
    const columns = pictures.length > 2 ? 2 : 1;
    const rows = [];
    for (let k = 0; k < pictures.length; k += columns) rows.push(pictures.slice(k, k + columns));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(...rows.map((row) => row.reduce((s, p) => s + p.image.width + gap, gap)));
    canvas.height = rows.reduce((s, row) => s + Math.max(...row.map((p) => p.image.height)) + head + gap, gap);
    const c = canvas.getContext("2d");
    c.fillStyle = ink("paper");
    c.fillRect(0, 0, canvas.width, canvas.height);
    let y = gap;
    for (const row of rows) {
      let x = gap;
      for (const { image, title } of row) {
        c.fillStyle = ink("ink");
        c.font = '600 26px system-ui, "Noto Sans", "DejaVu Sans", sans-serif';
        c.fillText(title, x, y + 24);
        c.drawImage(image, x, y + head);
        x += image.width + gap;
      }
      y += Math.max(...row.map((p) => p.image.height)) + head + gap;
    }
    canvas.toBlob((blob) => save(`theodolite_${this.name}.png`, blob), "image/png");
  }

  close() {
    this.closed = true;
    this.plots.forEach(({ plot }) => plot.close());
    this.idle();
  }
}
