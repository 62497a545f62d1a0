"""A report as plain text: the summary first, then the table."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from theodolite.core.measurement import Measurement

if TYPE_CHECKING:
    from theodolite.report.report import Report

__all__ = ["as_text", "measured_text"]

MARKS = {"bad": "✗", "note": "•", "good": "✓"}


def measured_text(measured: Measurement) -> str:
    """A measured number as short text: integers whole, an interval only where it is not a point."""
    if measured.value is None:
        return "—"
    number = _short(measured.value)
    if measured.censored:
        return f"{'≥' if measured.low is not None else '≤'} {number}"
    if measured.low is not None and measured.high is not None:
        low, high = _short(measured.low), _short(measured.high)
        if not low == high == number:
            return f"{number} [{low}, {high}]"
    return number


def _short(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e6 else f"{value:.4g}"


def as_text(report: Report, width: int = 110) -> str:
    """The whole report."""
    head = f"{report.model}: {report.samples} samples, {len(report.layers)} observed layers"
    lines = [head, "═" * len(head)]
    for level, sentence in report.summary:
        lines += textwrap.wrap(sentence, width, initial_indent=f"{MARKS.get(level, '•')} ", subsequent_indent="  ")
    if report.summary:
        lines.append("")
    lines += _table(report)
    if report.unseen:
        lines += ["", "not seen (operations that the tracer does not know): " + ", ".join(report.unseen)]
    if report.skipped:
        lines += ["", "not measured:"]
        for name, reason in report.skipped.items():
            lines += textwrap.wrap(f"{name}: {reason}", width, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines)


def _table(report: Report) -> list[str]:
    header = ("quantity", "layer", "measured", "theory says", "verdict")
    cells = [header]
    previous = ""
    for row in report.rows:
        name = f"{row.quantity} ({row.symbol})"
        theory = "" if row.prediction is None else f"{row.prediction:.4g}"
        cells.append(("" if name == previous else name, row.layer or "network", measured_text(row.measured), theory, row.verdict))
        previous = name
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    text = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    return [text[0], "  ".join("─" * w for w in widths), *text[1:]]
