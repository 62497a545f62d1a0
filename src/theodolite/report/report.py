"""The report: rows of measurements with their meaning, in text, HTML, JSON and CSV."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.core.errors import ArgumentError, unknown
from theodolite.core.measurement import LEVELS, Judgement, Measurement
from theodolite.lens import Architecture

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SCHEMA", "Profile", "Report", "Row"]

#: Version of the dictionary that `Report.to_dict` returns; raised when a field changes meaning or goes away.
SCHEMA = 1


@dataclass(frozen=True)
class Row:
    """One measured number at one place.

    Attributes:
        quantity: registered name.
        symbol: as in the papers.
        layer: where, or None for the whole network.
        measured: value with its resolution.
        prediction: what the theory says, or None.
        judgement: verdict, advice and level.
        reference: bibliography key.
        samples: number of samples that it was measured on.
    """

    quantity: str
    symbol: str
    layer: str | None
    measured: Measurement
    prediction: float | None
    judgement: Judgement
    reference: str
    samples: int

    @property
    def value(self) -> float | None:
        """The measured value; None when there is none."""
        return self.measured.value

    @property
    def verdict(self) -> str:
        """The verdict in a word or two."""
        return self.judgement.verdict

    @property
    def advice(self) -> str:
        """What to do, in a sentence."""
        return self.judgement.advice

    def to_dict(self) -> dict[str, Any]:
        """The row as strict JSON: a missing, censored or non-finite value is null, with a reason and its bounds."""
        value, reason = self.value, self.measured.reason
        if self.measured.censored:
            value = None
        elif value is not None and not math.isfinite(value):
            value, reason = None, reason or f"the value is {self.value}"
        return {
            "quantity": self.quantity,
            "symbol": self.symbol,
            "layer": self.layer,
            "value": value,
            "low": _strict(self.measured.low),
            "high": _strict(self.measured.high),
            "censored": self.measured.censored,
            "reason": reason or None,
            "prediction": _strict(self.prediction),
            "verdict": self.verdict or None,
            "advice": self.advice or None,
            "level": self.judgement.level,
            "reference": self.reference,
            "samples": self.samples,
        }


@dataclass(frozen=True)
class Profile:
    """A measured vector at one place, such as a spectrum; drawn in figures, not listed as a row."""

    quantity: str
    symbol: str
    layer: str | None
    values: np.ndarray


class RowsOfQuantity(tuple[Row, ...]):
    """All rows of one quantity, in layer order."""

    @property
    def values(self) -> dict[str | None, float | None]:
        """Layer -> value."""
        return {row.layer: row.value for row in self}

    def __str__(self) -> str:
        return "\n".join(f"{row.layer or 'network':<24} {row.measured}" for row in self)

    __repr__ = __str__


@dataclass(frozen=True, repr=False)
class Report:
    """What `theodolite.diagnose` found. Prints as a table; ``report["rank.epsilon_rank"]`` gives the rows of one quantity.

    Attributes:
        model: class name of the model.
        samples: number of samples looked at.
        layers: names of the observed layers.
        widths: layer -> number of neurons.
        architecture: what was read off the tensors.
        rows: all measurements.
        profiles: vector-valued measurements, for figures.
        skipped: quantity -> why it could not be measured.
        unseen: operations that the tracer does not know, by name.
        probe: number of samples used for quantities of quadratic cost.
        entries: layer -> what its entries are called: neurons, channels, units or features.
    """

    model: str
    samples: int
    layers: tuple[str, ...]
    widths: Mapping[str, int]
    architecture: Architecture
    rows: Sequence[Row]
    profiles: Sequence[Profile] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    unseen: tuple[str, ...] = ()
    probe: int = 0
    entries: Mapping[str, str] = field(default_factory=dict)

    def size(self, layer: str) -> str:
        """Width of a layer in words, such as ``32 channels``."""
        width, entries = self.widths[layer], self.entries.get(layer, "neurons")
        return f"{width} {entries[:-1] if width == 1 else entries}"

    def __getitem__(self, quantity: str) -> RowsOfQuantity:
        found = RowsOfQuantity(row for row in self.rows if row.quantity == quantity)
        if not found:
            raise unknown("quantity in this report", quantity, {row.quantity for row in self.rows})
        return found

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def summary(self) -> tuple[tuple[str, str], ...]:
        """(level, sentence): what the rows' judges say, worst first; per quantity and verdict, that of the most serious layer."""
        grouped: dict[tuple[str, str, str], list[Row]] = {}
        for row in self.rows:
            if row.advice:
                grouped.setdefault((row.judgement.level, row.quantity, row.verdict), []).append(row)
        groups = sorted(grouped.items(), key=lambda item: LEVELS.get(item[0][0], len(LEVELS)))
        return tuple((level, _sentence(rows)) for (level, _, _), rows in groups)

    def __repr__(self) -> str:
        return (
            f"<Report on {self.model}: {len(self.layers)} layers, {self.samples} samples, {len(self.rows)} rows; "
            "print(report), report[quantity], report.save('x.html')>"
        )

    def __str__(self) -> str:
        from theodolite.report.text import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from theodolite.report.html import fragment

        return fragment(self)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values: no NaN, no infinities; ``schema`` is the version of this form."""
        from theodolite import __version__

        return {
            "schema": SCHEMA,
            "theodolite": __version__,
            "model": self.model,
            "samples": self.samples,
            "layers": [{"name": name, "width": self.widths[name]} for name in self.layers],
            "summary": [{"level": level, "text": text} for level, text in self.summary],
            "rows": [row.to_dict() for row in self.rows],
            "skipped": dict(self.skipped),
            "unseen": list(self.unseen),
        }

    def to_frame(self) -> pd.DataFrame:
        """The rows as a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame([row.to_dict() for row in self.rows])

    def explain(self, name: str) -> str:
        """What a quantity of this report means, how it was computed, its paper, and its values here.

        Raises:
            UnknownNameError: no such quantity; the nearest names are listed.
        """
        from theodolite.report.explain import explain

        text = explain(name)
        rows = [row for row in self.rows if row.quantity == name]
        lines = [f"  {row.layer or 'network':<24} {row.measured}  {row.verdict}".rstrip() for row in rows]
        if not lines:
            lines = [f"  not measured: {self.skipped.get(name, 'it was not asked for')}"]
        return text + "\n\nIn this report:\n" + "\n".join(lines)

    def save(self, path: str | Path, **options: Any) -> Path:
        """Write the report; the suffix decides: ``.html`` (one self-contained page), ``.json`` or ``.csv``.

        Args:
            path: the file.
            options: of a page: ``title``; ``before``, another report to show beside this one, and their ``names``; ``sections`` of
                (heading, paragraph, figures); ``interactive=False`` for static figures only.

        Raises:
            ArgumentError: another suffix, or options that it has no use for. UnknownNameError: an option that a page does not have.
                Nothing is written then.
        """
        from theodolite.report.html import check_options, page

        path = Path(path)
        check_options(path, options)
        if path.suffix == ".html":
            text = page(self, **options)
        elif path.suffix == ".json":
            text = json.dumps(self.to_dict(), indent=1, allow_nan=False, ensure_ascii=False)
        elif path.suffix == ".csv":
            text = self.to_frame().to_csv(index=False)
        else:
            raise ArgumentError(f"path must end in .html, .json or .csv, got {str(path)!r}")
        return write(path, text)


def write(path: Path, text: str) -> Path:
    """Write a whole file or none; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.partial")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
    return path


def _strict(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _sentence(rows: Sequence[Row]) -> str:
    """The advice of the most serious row, with the layers that the verdict holds for."""
    worst = max(rows, key=lambda row: row.judgement.severity)
    if worst.layer is None:
        return worst.advice
    names = [str(row.layer) for row in rows]
    place = f"{'layer' if len(names) == 1 else 'layers'} {_listed(names)}"
    if len({row.advice for row in rows}) > 1:
        place += f" (most of all {worst.layer})"
    return f"{place} — {worst.advice}"


def _listed(names: Sequence[str]) -> str:
    shown = 6 if sum(map(len, names[:6])) <= 60 else 2
    return ", ".join(names) if len(names) <= shown else f"{', '.join(names[: shown - 1])} and {len(names) - shown + 1} more"
