"""What differs between two reports: layers matched by position, rows by quantity, and the verdicts that changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from theodolite.core.measurement import LEVELS
from theodolite.report.text import measured_text

if TYPE_CHECKING:
    from theodolite.report.report import Report, Row

__all__ = ["changed", "matched"]


def matched(before: Report, report: Report) -> Mapping[tuple[str, str | None], Row]:
    """(quantity, layer of ``report``) -> row of ``before``; layers are matched by name if the names agree, else by position."""
    if set(before.layers) == set(report.layers):
        place: dict[str | None, str | None] = {name: name for name in before.layers}
    else:
        place = dict(zip(before.layers, report.layers, strict=False))
    place[None] = None
    return {(row.quantity, place[row.layer]): replace(row, layer=place[row.layer]) for row in before.rows if row.layer in place}


def changed(before: Report, report: Report) -> Sequence[tuple[str, str]]:
    """(level, sentence): verdicts that are not what they were, one sentence per quantity and change, with the values of each layer."""
    was = matched(before, report)
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for row in report.rows:
        old = was.get((row.quantity, row.layer))
        if old is None or old.verdict == row.verdict or not (old.verdict and row.verdict):
            continue
        values = f"{measured_text(old.measured)} → {measured_text(row.measured)}"
        place = "" if row.layer is None else f"layer {row.layer}: "
        key = (row.judgement.level, row.quantity, old.verdict, row.verdict)
        groups.setdefault(key, []).append(place + values)
    return [
        (level, f"{quantity}: {first} → {second} ({'; '.join(places[:4])}{'; …' if len(places) > 4 else ''})")
        for (level, quantity, first, second), places in sorted(
            groups.items(), key=lambda item: LEVELS.get(item[0][0], len(LEVELS))
        )
    ]
