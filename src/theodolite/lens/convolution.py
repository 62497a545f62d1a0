"""A convolution as one linear map applied at every output position: the patches it reads."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from theodolite.core.errors import UnsupportedError
from theodolite.lens.uses import Broadcast, Factored

__all__ = ["convolution", "patches"]


def _per_dimension(value: Any, dims: int) -> tuple[int, ...]:
    return (int(value),) * dims if isinstance(value, int) else tuple(int(v) for v in value) * (dims if len(value) == 1 else 1)


def _pads(padding: Any, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> list[tuple[int, int]]:
    """Zeros before and after each spatial dimension; ``"same"`` puts the odd one after, as torch does."""
    if padding == "valid":
        return [(0, 0)] * len(kernel)
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return [(t // 2, t - t // 2) for t in total]
    return [(p, p) for p in _per_dimension(padding, len(kernel))]


def patches(x: torch.Tensor, kernel: tuple[int, ...], stride: Any, padding: Any, dilation: Any, groups: int) -> torch.Tensor:
    """The patches of ``x`` that a convolution multiplies.

    Args:
        x: ``(R, C, *spatial)``.
        kernel: spatial size of the kernel.
        stride: as in ``torch.conv2d``.
        padding: as in ``torch.conv2d``, including ``"same"`` and ``"valid"``.
        dilation: as in ``torch.conv2d``.
        groups: number of blocks of channels.

    Returns:
        ``(R, S, groups, C / groups · prod(kernel))`` with S output positions, in the order of a flattened kernel.

    Example:
        >>> patches(torch.arange(3.0).reshape(1, 1, 3), (2,), 1, 0, 1, 1)[0, :, 0]
        tensor([[0., 1.],
                [1., 2.]])
    """
    dims = len(kernel)
    stride, dilation = _per_dimension(stride, dims), _per_dimension(dilation, dims)
    pads = _pads(padding, kernel, dilation)
    if any(before or after for before, after in pads):
        x = F.pad(x, [p for pair in reversed(pads) for p in pair])
    x = x.contiguous()
    out = [(size - d * (k - 1) - 1) // s + 1 for size, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True)]
    steps = x.stride()
    windows = x.as_strided(
        (x.shape[0], *out, x.shape[1], *kernel),
        (
            steps[0],
            *[n * s for n, s in zip(steps[2:], stride, strict=True)],
            steps[1],
            *tuple(n * d for n, d in zip(steps[2:], dilation, strict=True)),
        ),
    )
    return windows.reshape(x.shape[0], -1, groups, x.shape[1] // groups * _product(kernel))


def _product(sizes: tuple[int, ...]) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total


def convolution(
    capture: Any,
    func: Any,
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """Handler of ``torch.conv1d``, ``conv2d`` and ``conv3d`` for `theodolite.lens.capture.Capture`."""
    w, b = capture.image(weight), capture.image(bias)
    if not (w or b) or input.ndim != weight.ndim or (w and w.transposed):
        return NotImplemented
    z, edge = capture.tap(func(input, w.value if w else weight, b.value if b else bias, stride, padding, dilation, groups))
    if w:
        kept = patches(capture.keep(input), tuple(weight.shape[2:]), stride, padding, dilation, groups)
        if kept.shape[1] != _product(tuple(z.shape[2:])):
            raise UnsupportedError(
                f"a convolution with padding={padding!r} gave {z.shape[2:]} positions, expected {kept.shape[1]}"
            )
        capture.uses.append(Factored(w.piece, edge, z.shape, 1, w.scale, inputs=kept, channels_last=False))
    if b:
        capture.uses.append(Broadcast(b.piece, edge, z.shape, 1, b.scale, aligned=(z.shape[1], *[1] * (z.ndim - 2))))
    return z
