// Colours: those of the page's style, and scales from numbers to colours.

const cache = {};

export function ink(name) {
  if (!(name in cache)) cache[name] = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  return cache[name];
}

export const SERIES = ["one", "two", "three", "four", "five", "six"];

const listeners = new Set();
const dark = matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", () => {
  for (const key of Object.keys(cache)) delete cache[key];
  listeners.forEach((f) => f());
});
export function onTheme(f) { listeners.add(f); return () => listeners.delete(f); }

export function rgb(hex) {
  const h = hex.replace("#", "");
  return [0, 2, 4].map((k) => parseInt(h.slice(k, k + 2), 16));
}

const VIRIDIS = ["#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725"].map(rgb);

function between(stops, t) {
  const at = Math.min(Math.max(t, 0), 1) * (stops.length - 1);
  const k = Math.min(Math.floor(at), stops.length - 2);
  return stops[k].map((v, i) => v + (stops[k + 1][i] - v) * (at - k));
}

export function css(color) { return `rgb(${color.map(Math.round).join(" ")})`; }

// low … high, optionally logarithmic: {colour(value) -> [r, g, b], low, high, log, at(t) -> value}
export function sequential(low, high, log = false) {
  return scale(low, high, log, (t) => between(VIRIDIS, t));
}

// Blue below the middle, orange above it, about the colour of the page at it, and further from that towards both ends.
export function diverging(low, middle, high, log = false) {
  const stops = () => ["cold", "one", "middle", "two", "hot"].map((name) => rgb(ink(name)));
  const f = log ? Math.log : (v) => v;
  const [a, m, b] = [f(low), f(middle), f(high)];
  return { low, high, log, marks: [middle], colour: (v) => {
    const x = f(v);
    return between(stops(), x <= m ? 0.5 * Math.max(0, (x - a) / (m - a || 1)) : 0.5 + 0.5 * Math.min(1, (x - m) / (b - m || 1)));
  } };
}

function scale(low, high, log, map) {
  const f = log ? Math.log : (v) => v;
  const [a, b] = [f(low), f(high)];
  return { low, high, log, marks: [], colour: (v) => map((f(v) - a) / (b - a || 1)) };
}

export function hue(angle, strength) {
  const h = ((angle / (2 * Math.PI)) * 360 + 360) % 360;
  return `hsl(${h.toFixed(1)} ${Math.round(25 + 50 * strength)}% ${dark.matches ? 42 : 66}%)`;
}
