"""``theodolite init TARGET``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from theodolite.cli.parse import command

__all__ = ["main"]


def run(
    target: str,
    /,
    sigma_b2: float | None = None,
    weights: Literal["gaussian", "orthogonal"] = "orthogonal",
    out: Path | None = None,
    allow_pickle: bool = False,
) -> None:
    """Initialise a network at criticality, and say what was set and what was left alone.

    Args:
        target: file.py:factory, package.module:factory, or a torch.export .pt2 file.
        sigma_b2: variance of the biases; by default chosen by depth and activation.
        weights: gaussian or orthogonal.
        out: write the initialised state_dict here (torch.save).
        allow_pickle: load a pickled module, which runs any code it holds.
    """
    from theodolite.cli.target import load_model, save_weights
    from theodolite.theory.meanfield import critical_init_

    model = load_model(target, allow_pickle)
    print(critical_init_(model, sigma_b2=sigma_b2, weights=weights))
    save_weights(model, out)


def main(words: Sequence[str]) -> int:
    """Parse and run."""
    command(run, words, "init")
    return 0
