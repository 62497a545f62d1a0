"""``theodolite shallow TARGET``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from theodolite.cli.parse import command

__all__ = ["main"]


def run(
    target: str,
    /,
    low: float = -1.0,
    high: float = 1.0,
    dim: int = 2,
    mode: Literal["exact", "paper", "finite"] = "exact",
    certify: Literal["none", "filtered", "exact"] = "exact",
    out: Path | None = None,
    allow_pickle: bool = False,
) -> None:
    """Rewrite a piecewise-linear network on a box as a network of three layers that computes the same function.

    Args:
        target: file.py:factory, package.module:factory, or a torch.export .pt2 file.
        low: lower end of the box on every axis.
        high: upper end of the box on every axis.
        dim: number of inputs.
        mode: exact on the whole box, the paper's literal extended-real form, or finite weights.
        certify: none, filtered (float signs with error bounds), or exact (proved over the rationals).
        out: write the three-layer network's state_dict here (torch.save).
        allow_pickle: load a pickled module, which runs any code it holds.
    """
    from theodolite.cli.target import load_model, save_weights
    from theodolite.theory.piecewise import box, to_shallow

    shallow = to_shallow(load_model(target, allow_pickle), box(low, high, dim=dim), mode=mode, certify=certify)
    print(shallow)
    print(f"widths {shallow.widths}")
    print(f"certificate {shallow.certificate}")
    save_weights(shallow, out)


def main(words: Sequence[str]) -> int:
    """Parse and run."""
    command(run, words, "shallow")
    return 0
