"""Look without touching: a model in eval mode for the length of a ``with``, and exactly as before afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from theodolite.core.errors import ArgumentError

__all__ = ["frozen"]


@contextmanager
def frozen(model: nn.Module) -> Iterator[nn.Module]:
    """``model`` in eval mode; mode, buffers, gradients, hooks and random state are restored on exit, also after an error.

    Hooks registered on the model inside the block are removed with it. Gradients are kept by reference, so a backward pass inside
    the block must use `torch.autograd.grad` rather than ``.backward()``.

    Raises:
        ArgumentError: ``model`` is no module.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).train()
        >>> with frozen(net) as still:
        ...     still.training
        False
        >>> net.training, net[1].training
        (True, True)
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    modules = list(model.modules())
    modes = [m.training for m in modules]
    hooks = [(m, m._forward_hooks.copy(), m._forward_pre_hooks.copy(), m._backward_hooks.copy()) for m in modules]
    buffers = [(m, name, b, b.detach().clone()) for m in modules for name, b in m._buffers.items() if b is not None]
    gradients = [(p, p.grad) for m in modules for p in m._parameters.values() if p is not None]
    devices = sorted({p.device.index or 0 for p, _ in gradients if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        try:
            for m in modules:
                m.training = False
            yield model
        finally:
            for m, training in zip(modules, modes, strict=True):
                m.training = training
            for m, forward, forward_pre, backward in hooks:
                _restore(m._forward_hooks, forward)
                _restore(m._forward_pre_hooks, forward_pre)
                _restore(m._backward_hooks, backward)
            with torch.no_grad():
                for m, name, buffer, saved in buffers:
                    m._buffers[name] = buffer  # a forward may assign a new tensor
                    if not torch.equal(buffer, saved):
                        buffer.copy_(saved)
            for p, gradient in gradients:
                p.grad = gradient


def _restore(current: dict, saved: dict) -> None:
    for key in list(current):
        if key not in saved:
            del current[key]
