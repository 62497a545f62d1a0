"""Two models, or one model at two times, side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from theodolite.core.errors import ArgumentError
from theodolite.report.changes import changed, matched, unmatched
from theodolite.report.diagnose import diagnose
from theodolite.report.report import SCHEMA, Report, write
from theodolite.report.text import measured_text

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """Two reports on the same data. Layers are matched by position where their names differ.

    Attributes:
        first: report of the first model.
        second: report of the second.
    """

    first: Report
    second: Report

    @property
    def names(self) -> tuple[str, str]:
        """What to call the two: their classes, numbered if these are the same."""
        names = self.first.model, self.second.model
        return names if names[0] != names[1] else (f"{names[0]} 1", f"{names[1]} 2")

    @property
    def changes(self) -> Sequence[tuple[str, str]]:
        """(level, sentence): the verdicts that differ."""
        return changed(self.first, self.second)

    def rows(self) -> list[tuple[str, str, str, str]]:
        """(quantity, layer of the second, first value, second value) of all quantities that both reports have."""
        there = matched(self.first, self.second)
        return [
            (row.quantity, row.layer or "network", measured_text(old.measured), measured_text(row.measured))
            for row in self.second.rows
            if (old := there.get((row.quantity, row.layer))) is not None
        ]

    def __str__(self) -> str:
        cells = [("quantity", "layer", *self.names), *self.rows()]
        widths = [max(len(row[i]) for row in cells) for i in range(4)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
        words = [sentence for _, sentence in self.changes] + unmatched(self.first, self.second, self.names)
        return "\n".join([*words, *([""] if words else []), lines[0], "  ".join("─" * w for w in widths), *lines[1:]])

    def _repr_html_(self) -> str:
        from theodolite.report.html import fragment

        return fragment(self.second, self.first, self.names)

    def to_dict(self) -> dict[str, Any]:
        """Both reports as plain JSON values."""
        return {"schema": SCHEMA, "first": self.first.to_dict(), "second": self.second.to_dict()}

    def save(self, path: str | Path, **options: Any) -> Path:
        """Write the comparison; the suffix decides: ``.html`` (one self-contained page) or ``.json``.

        Raises:
            ArgumentError: another suffix, or options that it has no use for. UnknownNameError: an option that a page does not have.
                Nothing is written then.
        """
        from theodolite.report.html import check_options, page

        path = Path(path)
        check_options(path, options)
        if path.suffix == ".html":
            title = options.pop("title", f"{self.names[0]} beside {self.names[1]}")
            text = page(self.second, title, before=self.first, names=self.names, **options)
        elif path.suffix == ".json":
            text = json.dumps(self.to_dict(), indent=1, allow_nan=False, ensure_ascii=False)
        else:
            raise ArgumentError(f"path must end in .html or .json, got {str(path)!r}")
        return write(path, text)


def compare(
    model_a: nn.Module,
    model_b: nn.Module,
    x: Any,
    y: Any = None,
    *,
    loss: Callable[[Any, Any], torch.Tensor] | None = None,
    quantities: Any = None,
) -> Comparison:
    """Diagnose two models on the same data and put their measurements side by side.

    Args:
        model_a: the first model.
        model_b: the second model.
        x: inputs, as for `theodolite.diagnose`.
        y: targets.
        loss: ``loss(outputs, targets)``.
        quantities: names, or a mapping name -> options; default all.

    Returns:
        A `Comparison`: prints as a table, saves as HTML or JSON.

    Raises:
        ArgumentError: bad data. ModelError: a model raised. UnknownNameError: a misspelt quantity.

    Example:
        >>> x = torch.linspace(-1, 1, 50)[:, None]
        >>> nets = [nn.Sequential(nn.Linear(1, n), nn.Tanh(), nn.Linear(n, 1)) for n in (5, 8)]
        >>> [row[:2] for row in compare(*nets, x, quantities=["rank.epsilon_rank"]).rows()]
        [('rank.epsilon_rank', '1')]
    """
    for name, model in (("model_a", model_a), ("model_b", model_b)):
        if not isinstance(model, nn.Module):
            raise ArgumentError(f"{name} must be a torch.nn.Module, got {type(model).__name__}")
    reports = [diagnose(model, x, y, loss=loss, quantities=quantities) for model in (model_a, model_b)]
    return Comparison(*reports)
