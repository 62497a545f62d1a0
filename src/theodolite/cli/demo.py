"""``theodolite demo``: the whole path on real data in a few seconds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.cli.parse import command

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["main"]


def run(out: Path = Path("runs/demo"), steps: int = 600, width: int = 128, seed: int = 0) -> None:
    """Train a network on handwritten digits, diagnose it before and after, prune it with a certificate, and write a report.

    Args:
        out: folder for report.html and the tracked record.
        steps: optimisation steps.
        width: neurons in each of the two hidden layers.
        seed: seed of the weights and the batches.
    """
    import torch

    from theodolite.core.seed import generator
    from theodolite.data import digits
    from theodolite.nets import mlp
    from theodolite.report.diagnose import diagnose
    from theodolite.theory.rank import prune
    from theodolite.train.track import track

    start = time.perf_counter()
    split = digits(1437)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = mlp([64, width, width, 10], "tanh")
    print(f"1. a {width}-{width} tanh network on {len(split.x)} handwritten digits, before training")
    before = diagnose(model, split.x, split.y)

    print(f"2. training for {steps} steps, with the ε-rank of both layers tracked")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = generator(seed, "demo", "batches")
    with track(model, split.x[:512], split.y[:512], ["rank.epsilon_rank"], store=out / "training.zarr") as tracked:
        for _ in range(steps):
            index = torch.randint(len(split.x), (64,), generator=batches)
            loss = torch.nn.functional.cross_entropy(model(split.x[index]), split.y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            tracked.step(loss=loss.detach())
    print(f"   test accuracy {_accuracy(model, split):.1%}")

    print("3. diagnosing again")
    after = diagnose(model, split.x, split.y)

    print("4. pruning to a 1 % change of the outputs")
    small, certificate = prune(model, split.x, tolerance=0.01)
    print("   " + str(certificate).replace("\n", "\n   "))
    print(f"   test accuracy {_accuracy(small, split):.1%} after pruning")

    story = (
        f"{steps} steps of Adam took the network to {_accuracy(model, split):.1%} test accuracy. While it learns, its layers gain "
        "linearly independent neurons, step by step."
    )
    kept = ", ".join(f"layer {name}: {certificate.widths[name]} → {count}" for name, count in certificate.kept.items())
    pruned = (
        f"Interpolative pruning kept {kept} neurons ({certificate.parameters[0]:,} → {certificate.parameters[1]:,} parameters) and "
        f"changed the outputs by {certificate.error:.2%} in relative L², without any retraining; test accuracy is now "
        f"{_accuracy(small, split):.1%}."
    )
    path = after.save(
        out / "report.html",
        title="Handwritten digits: a network before and after training",
        before=before,
        sections=[("Training", story, [tracked.plot("rank.epsilon_rank", against="loss")]), ("Pruning", pruned, [])],
    )
    print(f"\n{after}\n\nreport: {path.resolve()}   ({time.perf_counter() - start:.0f} s)")


def _accuracy(model: nn.Module, split: Any) -> float:
    import torch

    with torch.no_grad():
        guess: torch.Tensor = model(split.x_test).argmax(1)
    return float((guess == split.y_test).float().mean())


def main(words: Sequence[str]) -> int:
    """Parse and run."""
    command(run, words, "demo")
    return 0
