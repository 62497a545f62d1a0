// Answers: from the server, or, in a page opened from a file, the nearest precomputed one.

const own = document.getElementById("precomputed");
const precomputed = own ? JSON.parse(own.textContent) : null;

export const offline = precomputed !== null;
let known = precomputed ? precomputed.endpoints : [];

export async function begin() {
  if (!offline) known = (await (await fetch("/api/views")).json()).endpoints;
  return known;
}

export function has(endpoint) { return known.includes(endpoint); }

// Values of a parameter that a file has answers for; null where the server can compute any.
export function offered(endpoint, name) {
  if (!offline) return null;
  return [...new Set((precomputed.grids[endpoint] ?? []).map((g) => g.query[name]).filter((v) => v !== undefined))];
}

export class Refused extends Error {}

// → {…, note}: note tells where a precomputed answer is for other values than those asked for.
export async function ask(endpoint, query, standard = {}) {
  const asked = Object.fromEntries(Object.entries(query).filter(([, v]) => v !== undefined && v !== null && v !== "").map(([k, v]) => [k, String(v)]));
  if (offline) return nearest(endpoint, asked, standard);
  const response = await fetch(`/api/${endpoint}?${new URLSearchParams(asked)}`);
  const answer = await response.json();
  if (!response.ok) throw new Refused(answer.error);
  return answer;
}

function nearest(endpoint, asked, standard) {
  const grid = precomputed.grids[endpoint] ?? [];
  if (!grid.length) throw new Refused("this file holds no answer of this kind; theodolite serve computes it");
  const numeric = (text) => text !== undefined && text !== "" && Number.isFinite(Number(text));
  const names = [...new Set(grid.flatMap((g) => Object.keys(g.query)))];
  const spread = Object.fromEntries(names.map((n) => {
    const values = grid.map((g) => Number(g.query[n])).filter(Number.isFinite);
    return [n, Math.max(...values) - Math.min(...values) || 1];
  }));
  let best = null, least = Infinity;
  for (const entry of grid) {
    let distance = 0;
    for (const name of names) {
      const [a, b] = [asked[name], entry.query[name]];
      if (a === undefined || b === undefined || a === b) distance += a === b ? 0 : 0.01;
      else if (numeric(a) && numeric(b)) distance += ((Number(a) - Number(b)) / spread[name]) ** 2;
      else distance += 100;
    }
    if (distance < least) [best, least] = [entry, distance];
  }
  if (best.data.refused) throw new Refused(best.data.refused);
  const other = names.filter((n) => asked[n] !== undefined && best.query[n] !== undefined && asked[n] !== best.query[n] && Number(asked[n]) !== Number(best.query[n]));
  const unknown = Object.keys(asked).filter((n) => !names.includes(n) && String(standard[n]) !== asked[n]);
  const listed = (some, value) => some.map((n) => n.replace("_", " ") + value(n)).join(", ");
  const note = [
    other.length ? `Nearest precomputed values: ${listed(other, (n) => ` = ${best.query[n]}`)}.` : "",
    unknown.length ? `Precomputed for the standard ${listed(unknown, () => "")} only.` : "",
  ].filter(Boolean).join(" ");
  return { ...best.data, note };
}
