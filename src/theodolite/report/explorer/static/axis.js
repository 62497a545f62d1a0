// An axis of a sweep: where its values stand, and where the cell of each begins and ends.

const straight = { to: (v) => v, from: (v) => v };
const logarithmic = { to: Math.log, from: Math.exp };
const measure = (axis) => (axis.log ? logarithmic : straight);

// Edges of the cells, halfway between neighbouring values as the axis measures.
export function edges(axis) {
  const { to, from } = measure(axis);
  const p = axis.positions.map(to);
  if (p.length === 1) return [p[0] - 0.5, p[0] + 0.5].map(from);
  const inner = p.slice(1).map((v, k) => (v + p[k]) / 2);
  return [2 * p[0] - inner[0], ...inner, 2 * p[p.length - 1] - inner[inner.length - 1]].map(from);
}

// Which value's cell holds v.
export function nearest(axis, v) {
  const { to } = measure(axis);
  const far = axis.positions.map((p) => Math.abs(to(p) - to(v)));
  return far.indexOf(Math.min(...far));
}
