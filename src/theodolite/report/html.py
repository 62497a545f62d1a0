"""A report as one self-contained page: words first, then the table, the figures, and how each number was computed."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Sequence
from importlib import resources
from io import StringIO
from typing import TYPE_CHECKING

from theodolite.core.reference import described
from theodolite.core.registry import quantity_named
from theodolite.report.text import measured_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from theodolite.report.report import Report, Row

__all__ = ["Section", "fragment", "page", "svg"]

#: A heading, a paragraph and figures, for `page`: what a caller adds to a report.
Section = tuple[str, str, Sequence["Figure"]]


def page(report: Report, title: str | None = None, sections: Sequence[Section] = (), before: Report | None = None) -> str:
    """The whole page.

    Args:
        report: what to show.
        title: heading; default the model's name.
        sections: more sections (heading, paragraph, figures), shown before the method notes.
        before: a report of the same model at another time, shown beside the measurements.
    """
    from theodolite.report.pictures import pictures

    title = title or f"Diagnosis of {report.model}"
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p class=lead>{report.samples:,} samples · {len(report.layers)} observed layers · {_widths(report)}</p>",
        _summary(report),
        "<h2>Measurements</h2>",
        _table(report, before),
        _unmeasured(report),
    ]
    drawn = pictures(report)
    if drawn:
        body.append("<h2>Pictures</h2><div class=figures>")
        body += [f"<figure>{svg(figure)}<figcaption>{html.escape(caption)}</figcaption></figure>" for caption, figure in drawn]
        body.append("</div>")
    for heading, paragraph, figures in sections:
        body.append(f"<h2>{html.escape(heading)}</h2><p>{html.escape(paragraph)}</p><div class=figures>")
        body += [f"<figure>{svg(figure)}</figure>" for figure in figures]
        body.append("</div>")
    body += ["<h2>The network as it was read</h2>", f"<pre>{html.escape(str(report.architecture))}</pre>", _methods(report)]
    style = resources.files("theodolite.report").joinpath("report.css").read_text(encoding="utf-8")
    return (
        f"<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(title)}</title><style>{style}</style></head>\n<body><main>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def fragment(report: Report) -> str:
    """Summary and table, for notebooks."""
    return f"<div><b>{html.escape(report.model)}</b>: {report.samples} samples{_summary(report)}{_table(report)}</div>"


def svg(figure: Figure) -> str:
    """A matplotlib figure as inline SVG, with ids that do not clash with those of other figures on the page."""
    import matplotlib as mpl

    buffer = StringIO()
    # A fixed salt would give equal ids to equal elements of different figures; the object's identity does not.
    with mpl.rc_context({"svg.hashsalt": f"figure-{id(figure)}", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    drawn = text[text.index("<svg") :]
    prefix = f"f{id(figure):x}-"
    drawn = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}\1"', drawn)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}", drawn)


def _widths(report: Report) -> str:
    sizes = " → ".join(str(report.widths[name]) for name in report.layers[:12])
    return f"widths {sizes}" + (" → …" if len(report.layers) > 12 else "")


def _summary(report: Report) -> str:
    if not report.summary:
        return "<p class=calm>Nothing stands out: every judged quantity is in its good range.</p>"
    items = "".join(f"<li class={level}>{html.escape(text)}</li>" for level, text in report.summary)
    return f"<ul class=summary>{items}</ul>"


def _table(report: Report, before: Report | None = None) -> str:
    was = {(row.quantity, row.layer): row for row in before.rows} if before is not None else {}
    head = ["quantity", "layer", *(["before"] if before is not None else []), "measured", "theory says", "verdict"]
    lines = ["<div class=wide><table><thead><tr>" + "".join(f"<th>{h}</th>" for h in head) + "</tr></thead><tbody>"]
    previous = ""
    for row in report.rows:
        first = row.quantity != previous
        previous = row.quantity
        cells = [
            f"<td class=name>{_quantity_cell(row) if first else ''}</td>",
            f"<td>{html.escape(row.layer or 'network')}</td>",
        ]
        if before is not None:
            old = was.get((row.quantity, row.layer))
            cells.append(f"<td class=number>{measured_text(old.measured) if old else '—'}</td>")
        reason = f" title='{html.escape(row.measured.reason, quote=True)}'" if row.measured.reason else ""
        cells.append(f"<td class=number{reason}>{html.escape(measured_text(row.measured))}</td>")
        cells.append(f"<td class=number>{'' if row.prediction is None else f'{row.prediction:.4g}'}</td>")
        badge = f"<span class='badge {row.judgement.level}'>{html.escape(row.verdict)}</span>" if row.verdict else ""
        cells.append(f"<td>{badge}</td>")
        lines.append(f"<tr{' class=first' if first else ''}>" + "".join(cells) + "</tr>")
    return "".join(lines) + "</tbody></table></div>"


def _quantity_cell(row: Row) -> str:
    return f"<a href='#{html.escape(row.quantity)}'>{html.escape(row.quantity)}</a> <i>{html.escape(row.symbol)}</i>"


def _unmeasured(report: Report) -> str:
    parts = []
    if report.unseen:
        parts.append(f"<p class=small>Operations that the tracer does not know: {html.escape(', '.join(report.unseen))}.</p>")
    if report.skipped:
        items = "".join(f"<li><code>{html.escape(k)}</code>: {html.escape(v)}</li>" for k, v in report.skipped.items())
        parts.append(f"<details><summary>Not measured ({len(report.skipped)})</summary><ul class=small>{items}</ul></details>")
    return "".join(parts)


def _methods(report: Report) -> str:
    names = dict.fromkeys(row.quantity for row in report.rows)
    items = []
    for name in names:
        quantity = quantity_named(name)
        text = inspect.getdoc(quantity.function) or ""
        items.append(
            f"<details id='{html.escape(name)}'><summary><code>{html.escape(name)}</code> {html.escape(quantity.summary)}</summary>"
            f"<pre>{html.escape(text)}</pre><p class=small>{html.escape(described(quantity.reference))}</p></details>"
        )
    probe = (
        "<p class=small>Quantities whose cost grows with the square of the number of samples were measured on the first "
        f"{report.probe} of them.</p>"
        if report.probe and report.probe < report.samples
        else ""
    )
    return "<h2>How each number was computed</h2>" + probe + "".join(items)
