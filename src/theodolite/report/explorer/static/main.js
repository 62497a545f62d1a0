// The page: which view is shown, and the state in the address.

import { el } from "./dom.js";
import { address, readState } from "./frame.js";
import { begin, has, offline } from "./source.js";
import * as phase from "./phase.js";
import * as condensation from "./condensation.js";
import * as staircase from "./staircase.js";
import * as regions from "./regions.js";
import * as descent from "./descent.js";
import * as store from "./store.js";

const VIEWS = { phase, condensation, staircase, regions, descent, store };
const root = document.getElementById("view");
const live = document.getElementById("live");
let shown = null;

function names() { return Object.keys(VIEWS).filter((name) => has(VIEWS[name].needs)); }

function navigation(current) {
  document.getElementById("views").replaceChildren(...names().map((name) =>
    el("a", { href: `#/${name}`, "aria-current": name === current ? "page" : null }, VIEWS[name].title)));
  // On a narrow screen the list scrolls by itself; the page must not.
  const bar = document.getElementById("views");
  const here = bar.querySelector("[aria-current]");
  bar.scrollLeft = here.offsetLeft - bar.offsetLeft - (bar.clientWidth - here.offsetWidth) / 2;
}

function show() {
  const { view, values } = readState();
  const name = names().includes(view) ? view : names()[0];
  const module = VIEWS[name];
  if (shown?.name !== name) {
    shown?.view.close();
    shown = { name, values: {}, view: null };
    const context = {
      set(patch, { push = false } = {}) {
        shown.values = { ...shown.values, ...patch };
        history[push ? "pushState" : "replaceState"](null, "", address(name, shown.values, module.defaults));
        shown.view.update(shown.values, Object.keys(patch));
      },
      tell(text) { live.textContent = text; },
      offline,
    };
    document.title = `${module.title} · Theodolite explorer`;
    live.textContent = "";
    navigation(name);
    shown.values = { ...module.defaults, ...checked(values, module) };
    shown.view = module.mount(root, context, shown.values);
  } else {
    shown.values = { ...module.defaults, ...checked(values, module) };
  }
  shown.view.update(shown.values, Object.keys(shown.values));
}

// Only known names, numbers where numbers are meant: an address may be written by anyone.
function checked(values, module) {
  const out = {};
  for (const [name, value] of Object.entries(module.defaults)) {
    if (!(name in values)) continue;
    if (typeof value === "number") { const v = Number(values[name]); if (Number.isFinite(v)) out[name] = v; }
    else out[name] = values[name].slice(0, 2000);
  }
  return out;
}

// also fires when a link within the page changes the address
window.addEventListener("popstate", show);

try {
  await begin();
  show();
} catch (error) {
  root.replaceChildren(el("p", { class: "notice error", role: "alert" }, `The explorer could not start: ${error.message}`));
  throw error;
}
