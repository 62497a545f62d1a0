"""``theodolite diagnose TARGET --data DATA``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from theodolite.cli.parse import command

__all__ = ["main"]


def run(
    target: str,
    /,
    data: str = "digits",
    html: Path | None = None,
    json: Path | None = None,
    csv: Path | None = None,
    quantities: tuple[str, ...] = (),
    layers: tuple[str, ...] = (),
    allow_pickle: bool = False,
) -> None:
    """Measure a network, with theory beside the measurements, verdicts and advice.

    Args:
        target: file.py:factory, package.module:factory, or a torch.export .pt2 file.
        data: digits, a .npz file with arrays x and y, or module:function.
        html: write the report as a self-contained page.
        json: write the report as JSON.
        csv: write the report as CSV.
        quantities: only these quantities (see: theodolite list).
        layers: only layers whose names match these globs.
        allow_pickle: load a pickled module, which runs any code it holds.
    """
    from theodolite.cli.target import load_data, load_model
    from theodolite.report.diagnose import diagnose

    model = load_model(target, allow_pickle)
    x, y = load_data(data, model)
    report = diagnose(model, x, y, quantities=list(quantities) or None, layers=list(layers) or None)
    print(report)
    for path in (html, json, csv):
        if path is not None:
            print(f"wrote {report.save(path)}")


def main(words: Sequence[str]) -> int:
    """Parse and run."""
    command(run, words, "diagnose")
    return 0
