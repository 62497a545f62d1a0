"""A plain loop without a line inside it: every step of an optimiser is a step of the tracked run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from theodolite.train.track import Run

__all__ = ["step_with"]


@contextmanager
def step_with(optimizer: torch.optim.Optimizer, run: Run) -> Iterator[Run]:
    """Drive a run by the steps of an optimiser.

    ``with step_with(optimizer, td.track(model, x)) as run: train(model)`` uses the optimiser's own hook, so the loop may live in a
    function that cannot be changed. Add numbers with ``run.note(loss=…)``.

    Args:
        optimizer: a torch optimiser; its hook is removed at the end.
        run: from `theodolite.track`, not entered yet.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        >>> from theodolite.train.track import track
        >>> x, optimizer = torch.linspace(-1, 1, 32)[:, None], torch.optim.SGD(net.parameters(), lr=0.1)
        >>> with step_with(optimizer, track(net, x, when=[0, 3])) as run:
        ...     for _ in range(3):
        ...         (net(x) ** 2).mean().backward()
        ...         optimizer.step()
        >>> run.data.step.values.tolist()
        [0, 3]
    """

    def stepped(*_: Any) -> None:
        run.step()

    with run:
        handle = optimizer.register_step_post_hook(stepped)
        try:
            yield run
        finally:
            handle.remove()
