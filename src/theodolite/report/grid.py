"""The tables of a report: layer × quantity, and the numbers of the whole network, with theory beside the measurement."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from theodolite.report.changes import matched
from theodolite.report.text import measured_text

if TYPE_CHECKING:
    from theodolite.report.report import Report, Row

__all__ = ["tables"]

#: Up to so many layers are the columns; more become the rows, and quantities the columns.
FEW_LAYERS = 6
#: Most quantities in one table with layers as rows: what a page's width holds.
COLUMNS = 6

Old = Mapping[tuple[str, str | None], "Row"]


def tables(report: Report, before: Report | None = None, names: tuple[str, str] = ("before", "after")) -> str:
    """HTML of all measurements: first what was measured at every layer, then the network's own numbers."""
    old = {} if before is None else matched(before, report)
    layered = list(dict.fromkeys(row.quantity for row in report.rows if row.layer is not None))
    parts = []
    if before is not None:
        parts.append(f"<p class=small>Small above: {html.escape(names[0])}. Large: {html.escape(names[1])}.</p>")
    if layered and len(report.layers) <= FEW_LAYERS:
        parts.append(_quantities_by_layer(report, layered, old))
    elif layered:
        each = -(-len(layered) // -(-len(layered) // COLUMNS))  # as many in each table
        parts += [_layers_by_quantity(report, layered[i : i + each], old) for i in range(0, len(layered), each)]
    alone = [row for row in report.rows if row.layer is None]
    if alone:
        parts.append(_network(alone, old))
    return "".join(parts)


def _quantities_by_layer(report: Report, quantities: Sequence[str], old: Old) -> str:
    at = {(row.quantity, row.layer): row for row in report.rows}
    head = "".join(f"<th>layer {html.escape(name)}<small>{report.size(name)}</small></th>" for name in report.layers)
    lines = []
    for quantity in quantities:
        first = next(row for row in report.rows if row.quantity == quantity)
        cells = "".join(_cell(at.get((quantity, layer)), old) for layer in report.layers)
        lines.append(f"<tr><th scope=row>{_name(first)}</th>{cells}</tr>")
    return (
        f"<div class=wide><table class=grid><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _layers_by_quantity(report: Report, quantities: Sequence[str], old: Old) -> str:
    at = {(row.quantity, row.layer): row for row in report.rows}
    firsts = [next(row for row in report.rows if row.quantity == quantity) for quantity in quantities]
    head = "".join(f"<th>{_name(row)}</th>" for row in firsts)
    lines = []
    for layer in report.layers:
        cells = "".join(_cell(at.get((quantity, layer)), old) for quantity in quantities)
        lines.append(f"<tr><th scope=row>{html.escape(layer)}<small>{report.size(layer)}</small></th>{cells}</tr>")
    return (
        f"<div class=wide><table class='grid deep'><thead><tr><th>layer</th>{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _network(rows: Sequence[Row], old: Old) -> str:
    lines = [
        f"<tr><th scope=row>{_name(row)}</th>{_cell(row, old)}<td class=words>{html.escape(row.advice)}</td></tr>" for row in rows
    ]
    return (
        "<div class=wide><table class='grid whole'><thead><tr><th></th><th>whole network</th><th></th></tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _name(row: Row) -> str:
    topic, _, name = row.quantity.partition(".")
    return (
        f"<a href='#{html.escape(row.quantity)}'>{html.escape(name)}</a> <i>{html.escape(row.symbol)}</i>"
        f"<small>{html.escape(topic)}</small>"
    )


def _cell(row: Row | None, old: Old) -> str:
    if row is None:
        return "<td class=none>·</td>"
    was = old.get((row.quantity, row.layer))
    lines = [f"<small>{html.escape(measured_text(was.measured))}</small>"] if was is not None else []
    lines.append(f"<b>{html.escape(measured_text(row.measured))}</b>")
    if row.prediction is not None:
        lines.append(f"<small>theory {row.prediction:.4g}</small>")
    if row.verdict:
        lines.append(f"<em>{html.escape(row.verdict)}</em>")
    hint = " ".join(part for part in (row.advice, row.measured.reason) if part)
    about = f" title='{html.escape(hint, quote=True)}'" if hint else ""
    # A note without advice has nothing to point at.
    level = row.judgement.level if row.advice or row.judgement.level != "note" else "plain"
    return f"<td class={level}{about}>{''.join(lines)}</td>"
