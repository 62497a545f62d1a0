"""The stacked network of a specification: forward pass and hand-written backward pass on parameters with a leading member axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.train.activations import Activation, find_activation
from theodolite.train.spec import MLPSpec

__all__ = ["Network", "Pass"]

#: Up to this many inputs a layer is computed by broadcasting: a batched product with so short an inner side is slower.
SHORT = 3


@dataclass(frozen=True)
class Pass:
    """What a forward pass leaves behind.

    Attributes:
        preactivations: per hidden layer, (C, N, n).
        activations: per hidden layer σ(z), (C, N, n), without the skip.
        features: per hidden layer h, (C, N, n); preceded by the inputs, (1 or C, N, d).
        outputs: (C, N, K).
    """

    preactivations: list[Tensor]
    activations: list[Tensor]
    features: list[Tensor]
    outputs: Tensor


class Network:
    """Forward and backward passes of C stacked members of one specification.

    Args:
        spec: the specification.
    """

    def __init__(self, spec: MLPSpec) -> None:
        self.spec = spec
        self.activation: Activation = find_activation(spec.activation)
        self.scales = spec.scales
        self.skips = spec.skips
        self.groups: list[tuple[int, int | None]] = []
        position = 0
        for has_bias in spec.biases:
            self.groups.append((position, position + 1 if has_bias else None))
            position += 2 if has_bias else 1

    def elements(self, samples: int) -> int:
        """Elements of one member's largest tensor when it sees ``samples`` points."""
        widths = self.spec.widths
        parameters = max(a * b for a, b in zip(widths, widths[1:], strict=False))
        return max(samples * max(widths), parameters if samples > 1 else 0)

    def affine(self, layer: int, params: Sequence[Tensor], h: Tensor, out: Tensor | None = None) -> Tensor:
        """z = c W h + c' b of one layer; h (1 or C, N, n_in) -> (C, N, n_out), written into ``out`` if given."""
        weight_at, bias_at = self.groups[layer]
        w, (c, cb) = params[weight_at], self.scales[layer]
        if w.shape[-1] <= SHORT:
            if c != 1:
                w = w * c
            z = torch.mul(h[:, :, 0, None], w[:, None, :, 0], out=out)
            for j in range(1, w.shape[-1]):
                z = torch.addcmul(z, h[:, :, j, None], w[:, None, :, j], out=out)
            return z if bias_at is None else z.add_(params[bias_at][:, None, :], alpha=cb)
        h = h.expand(w.shape[0], -1, -1)
        if bias_at is None:
            z = torch.bmm(h, w.transpose(1, 2), out=out)
            return z if c == 1 else z.mul_(c)
        return torch.baddbmm(params[bias_at][:, None, :], h, w.transpose(1, 2), beta=cb, alpha=c, out=out)

    def forward(self, params: Sequence[Tensor], x: Tensor) -> Pass:
        """All layers on inputs x (1 or C, N, d)."""
        zs, activations, features = [], [], [x]
        for layer in range(self.spec.depth - 1):
            z = self.affine(layer, params, features[-1])
            s = self.activation.function(z)
            zs.append(z)
            activations.append(s)
            features.append(features[-1] + s if self.skips[layer] else s)
        return Pass(zs, activations, features, self.affine(self.spec.depth - 1, params, features[-1]))

    def outputs(self, params: Sequence[Tensor], x: Tensor) -> Tensor:
        """f(x), (C, N, K), keeping nothing; differentiable."""
        h = x
        for layer in range(self.spec.depth - 1):
            s = self.activation.function(self.affine(layer, params, h))
            h = h + s if self.skips[layer] else s
        return self.affine(self.spec.depth - 1, params, h)

    def buffers(self, rows: int, like: Tensor) -> list[Tensor]:
        """Room for the layers of one member on ``rows`` points, for `outputs_into`."""
        return [like.new_empty(1, rows, n) for n in self.spec.widths[1:]]

    def outputs_into(self, params: Sequence[Tensor], x: Tensor, buffers: Sequence[Tensor]) -> Tensor:
        """f(x) of one member, (1, N, K), computed in preallocated buffers; overwritten by the next call."""
        rows, h = x.shape[1], x
        for layer, buffer in enumerate(buffers):
            z = self.affine(layer, params, h, out=buffer[:, :rows])
            if layer == self.spec.depth - 1:
                return z
            s = self.activation.apply(z)
            h = s.add_(h) if self.skips[layer] else s
        return h

    def backward(self, params: Sequence[Tensor], seen: Pass, delta: Tensor) -> list[Tensor]:
        """Gradients of the parameters from delta = ∂L/∂f (C, N, K), in the order of the parameters."""
        gradients: list[Tensor] = [delta] * len(params)
        upstream: Tensor | None = None
        for layer in reversed(range(self.spec.depth)):
            if layer < self.spec.depth - 1:
                assert upstream is not None
                delta = self.activation.backward(upstream, seen.preactivations[layer], seen.activations[layer])
            weight_at, bias_at = self.groups[layer]
            c, cb = self.scales[layer]
            h = seen.features[layer].expand(delta.shape[0], -1, -1)
            g = torch.bmm(delta.transpose(1, 2), h)  # (C, n_out, n_in)
            gradients[weight_at] = g if c == 1 else g.mul_(c)
            if bias_at is not None:
                b = delta.sum(1)
                gradients[bias_at] = b if cb == 1 else b.mul_(cb)
            if layer:
                below = self._pull_back(delta, params[weight_at], c)
                upstream = below.add_(upstream) if layer < self.spec.depth - 1 and self.skips[layer] else below
        return gradients

    def trace(self, params: Sequence[Tensor], seen: Pass) -> Tensor:
        """tr J Jᵀ over all samples and outputs, J = ∂f/∂θ; (C,).

        A layer's share for one sample and output is ‖δ_l‖² (c² ‖h_{l−1}‖² + c'²), δ_l being the output's gradient in z_l.
        """
        total = seen.outputs.new_zeros(seen.outputs.shape[0])
        for output in range(self.spec.widths[-1]):
            delta = torch.zeros_like(seen.outputs)
            delta[..., output] = 1.0
            upstream = delta
            for layer in reversed(range(self.spec.depth)):
                if layer < self.spec.depth - 1:
                    delta = self.activation.backward(upstream, seen.preactivations[layer], seen.activations[layer])
                c, cb = self.scales[layer]
                weight_at, bias_at = self.groups[layer]
                reach = c * c * seen.features[layer].square().sum(-1) + (0.0 if bias_at is None else cb * cb)
                total += (delta.square().sum(-1) * reach).sum(-1)
                if layer:
                    below = self._pull_back(delta, params[weight_at], c)
                    upstream = below.add_(upstream) if layer < self.spec.depth - 1 and self.skips[layer] else below
        return total

    @staticmethod
    def _pull_back(delta: Tensor, w: Tensor, c: float) -> Tensor:
        """c δ W; (C, N, n_out) -> (C, N, n_in)."""
        if w.shape[1] == 1:
            below = delta * w
        else:
            below = torch.bmm(delta, w)
        return below if c == 1 else below.mul_(c)
