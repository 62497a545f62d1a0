"""What differs between two reports: layers matched by position, rows by quantity, and the verdicts that changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from theodolite.core.measurement import LEVELS
from theodolite.report.text import measured_text

if TYPE_CHECKING:
    from theodolite.report.report import Report, Row

__all__ = ["changed", "matched", "unmatched"]


def matched(before: Report, report: Report) -> Mapping[tuple[str, str | None], Row]:
    """(quantity, layer of ``report``) -> row of ``before``; layers are matched by name if the names agree, else by position."""
    place: dict[str | None, str | None] = {None: None}
    place.update(_places(before, report))
    return {(row.quantity, place[row.layer]): replace(row, layer=place[row.layer]) for row in before.rows if row.layer in place}


def _places(before: Report, report: Report) -> dict[str, str]:
    if set(before.layers) == set(report.layers):
        return {name: name for name in before.layers}
    return dict(zip(before.layers, report.layers, strict=False))


def unmatched(before: Report, report: Report, names: tuple[str, str]) -> list[str]:
    """For each of the two reports a sentence on its layers that have none in the other to be compared with, if there are any."""
    places = _places(before, report)
    alone = (
        (names[0], [layer for layer in before.layers if layer not in places]),
        (names[1], [layer for layer in report.layers if layer not in places.values()]),
    )
    return [
        f"{name}: layer{'' if len(layers) == 1 else 's'} {', '.join(layers)} without a counterpart (they are matched from the first on)"
        for name, layers in alone
        if layers
    ]


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
