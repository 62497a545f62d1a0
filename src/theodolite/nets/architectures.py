"""The networks of the papers as plain modules: multilayer perceptrons and residual networks, dense and convolutional."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from theodolite.core.errors import ArgumentError
from theodolite.nets.activations import Elementwise, activation

__all__ = ["ConvBlock", "ConvResNet", "ResidualMLP", "mlp"]

Act = str | Callable[[torch.Tensor], torch.Tensor]


def mlp(widths: Sequence[int], act: Act = "tanh", bias: bool = True, dtype: torch.dtype | None = None) -> nn.Sequential:
    """A multilayer perceptron of the given widths, input and output included, linear at the end.

    Example:
        >>> mlp([1, 50, 50, 1], "tanh")(torch.zeros(4, 1)).shape
        torch.Size([4, 1])
    """
    if len(widths) < 2 or any(w < 1 for w in widths):
        raise ArgumentError(f"widths must hold at least an input and an output size, each positive, got {list(widths)}")
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out, bias=bias, dtype=dtype), Elementwise(act)]
    return nn.Sequential(*layers[:-1])


class ResidualMLP(nn.Module):
    """h_1 = σ(W_1 x + b_1); h_{l+1} = h_l + σ(W h_l + b); u = W h_L + b: the dense residual network of yang2024 §4.3.

    Args:
        inputs: input size.
        width: size of every hidden layer.
        depth: number of hidden layers L ≥ 1.
        outputs: output size.
        act: activation σ.

    Example:
        >>> ResidualMLP(1, 8, 4)(torch.zeros(3, 1)).shape
        torch.Size([3, 1])
    """

    def __init__(self, inputs: int, width: int, depth: int, outputs: int = 1, act: Act = "tanh") -> None:
        super().__init__()
        if depth < 1:
            raise ArgumentError(f"depth must be at least 1, got {depth}")
        self.first = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.last = nn.Linear(width, outputs)
        self.act = activation(act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The network's output."""
        return self.last(self.features(x)[-1])

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The residual stream after each hidden layer."""
        stream = [self.act(self.first(x))]
        for block in self.blocks:
            stream.append(stream[-1] + self.act(block(stream[-1])))
        return stream


class ConvBlock(nn.Module):
    """A convolutional residual block y = σ(F(x) + S(x)).

    ``basic`` F is 3×3, 3×3; ``bottleneck`` F is 1×1 down to a quarter, 3×3, 1×1 up. The shortcut S is the identity, or a 1×1
    convolution where shape changes (projection shortcut). ``residual=False`` drops S: the plain twin.

    Reference:
        he2016 Fig. 2, Fig. 5.
    """

    def __init__(self, inputs: int, outputs: int, kind: str = "basic", stride: int = 1, residual: bool = True) -> None:
        super().__init__()
        if kind == "basic":
            shapes = [(inputs, outputs, 3, stride), (outputs, outputs, 3, 1)]
        elif kind == "bottleneck":
            narrow = max(1, outputs // 4)
            shapes = [(inputs, narrow, 1, 1), (narrow, narrow, 3, stride), (narrow, outputs, 1, 1)]
        else:
            raise ArgumentError(f"kind must be 'basic' or 'bottleneck', got {kind!r}")
        self.convolutions = nn.ModuleList(nn.Conv2d(i, o, k, s, k // 2, bias=False) for i, o, k, s in shapes)
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for _, o, _, _ in shapes)
        self.residual = residual
        self.projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride != 1 or inputs != outputs else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block's output."""
        h = x
        for index, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            h = norm(convolution(h))
            if index < len(self.convolutions) - 1:
                h = F.relu(h)
        if self.residual:
            h = h + (x if self.projection is None else self.projection(x))
        return F.relu(h)


class ConvResNet(nn.Module):
    """A small convolutional residual network: stem, a block per entry of ``channels`` (stride 2 where they grow), average pool, linear.

    Args:
        channels: channels of each block.
        kind: ``"basic"`` or ``"bottleneck"``.
        residual: False for the plain twin without shortcuts.
        classes: output size.

    Example:
        >>> ConvResNet([8, 8, 16], "bottleneck")(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(self, channels: Sequence[int], kind: str = "basic", residual: bool = True, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels[0], 3, padding=1)
        sizes = [channels[0], *channels]
        self.blocks = nn.ModuleList(
            ConvBlock(i, o, kind, stride=1 if i == o else 2, residual=residual) for i, o in pairwise(sizes)
        )
        self.head = nn.Linear(channels[-1], classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Class scores."""
        h = F.relu(self.stem(x))
        for block in self.blocks:
            h = block(h)
        return self.head(h.mean((-2, -1)))
