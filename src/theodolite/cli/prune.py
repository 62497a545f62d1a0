"""``theodolite prune TARGET``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from theodolite.cli.parse import command

__all__ = ["main"]


def run(
    target: str,
    /,
    data: str = "digits",
    eps: float | None = None,
    width: int | None = None,
    tolerance: float | None = None,
    layers: tuple[str, ...] = (),
    out: Path | None = None,
    allow_pickle: bool = False,
) -> None:
    """Remove redundant neurons, with an error certificate. Give one of --eps, --width and --tolerance.

    Args:
        target: file.py:factory, package.module:factory, or a torch.export .pt2 file.
        data: digits, a .npz file with an array x, or module:function.
        eps: keep as many neurons as the ε-rank.
        width: keep this many neurons per layer.
        tolerance: keep as few as hold the relative change of the output below this.
        layers: only layers whose names match these globs.
        out: write the small network's state_dict here (torch.save).
        allow_pickle: load a pickled module, which runs any code it holds.
    """
    from theodolite.cli.target import load_data, load_model, save_weights
    from theodolite.theory.rank import prune

    model = load_model(target, allow_pickle)
    x, _ = load_data(data, model)
    small, certificate = prune(model, x, eps=eps, width=width, tolerance=tolerance, layers=list(layers) or None)
    print(certificate)
    print(small)
    save_weights(small, out)


def main(words: Sequence[str]) -> int:
    """Parse and run."""
    command(run, words, "prune")
    return 0
