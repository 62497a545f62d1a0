"""Two models, or one model at two times, side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from theodolite.report.diagnose import diagnose
from theodolite.report.report import Report
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

    def rows(self) -> list[tuple[str, str, str, str]]:
        """(quantity, layer, first value, second value) of all quantities that both reports have."""
        place = dict(zip(self.second.layers, self.first.layers, strict=False))
        there = {(row.quantity, place.get(row.layer or "", row.layer)): row for row in self.second.rows}
        found = []
        for row in self.first.rows:
            other = there.get((row.quantity, row.layer))
            if other is not None:
                found.append((row.quantity, row.layer or "network", measured_text(row.measured), measured_text(other.measured)))
        return found

    def __str__(self) -> str:
        cells = [("quantity", "layer", self.first.model, self.second.model), *self.rows()]
        widths = [max(len(row[i]) for row in cells) for i in range(4)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
        return "\n".join([lines[0], "  ".join("─" * w for w in widths), *lines[1:]])

    def _repr_html_(self) -> str:
        import html

        body = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in self.rows())
        head = "".join(f"<th>{html.escape(h)}</th>" for h in ("quantity", "layer", self.first.model, self.second.model))
        return f"<table><tr>{head}</tr>{body}</table>"


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

    Example:
        >>> x = torch.linspace(-1, 1, 50)[:, None]
        >>> nets = [nn.Sequential(nn.Linear(1, n), nn.Tanh(), nn.Linear(n, 1)) for n in (5, 8)]
        >>> [row[:2] for row in compare(*nets, x, quantities=["rank.epsilon_rank"]).rows()]
        [('rank.epsilon_rank', '1')]
    """
    reports = [diagnose(model, x, y, loss=loss, quantities=quantities) for model in (model_a, model_b)]
    return Comparison(*reports)
