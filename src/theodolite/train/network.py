"""The stacked network of a specification: forward pass and hand-written backward pass on parameters with a leading member axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from theodolite.core.seed import generator
from theodolite.train.activations import Activation, find_activation
from theodolite.train.spec import MLPSpec

__all__ = ["Network", "Pass", "Workspace"]

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


class Workspace:
    """Buffers for the forward and backward pass of C members on N samples, reused from step to step.

    Large temporaries would be fresh memory mappings, whose page faults cost more than the arithmetic.

    Args:
        spec: the specification.
        members: C.
        samples: N.
        like: a tensor of the right dtype and device.
    """

    def __init__(self, spec: MLPSpec, members: int, samples: int, like: Tensor) -> None:
        hidden = [like.new_empty(members, samples, n) for n in spec.widths[1:-1]]
        self.z = [*hidden, like.new_empty(members, samples, spec.widths[-1])]
        self.s = [torch.empty_like(z) for z in hidden]
        self.h = [torch.empty_like(z) if skip else None for z, skip in zip(hidden, spec.skips, strict=False)]
        self.below = [torch.empty_like(z) for z in hidden]
        self.weights = [like.new_empty(members, n_in, n_out) for n_in, n_out in zip(spec.widths, spec.widths[1:], strict=False)]
        self.biases = [like.new_empty(members, n) for n in spec.widths[1:]]


class Network:
    """Forward and backward passes of C stacked members of one specification.

    Args:
        spec: the specification.
    """

    couples = False

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

    @property
    def kind(self) -> object:
        """What decides which operations a step consists of, shapes aside."""
        return self.activation, self.scales, self.skips

    def specimens(self, like: Sequence[Tensor], count: int) -> list[Tensor]:
        """Parameters of ``count`` networks in general position, always the same: z of order one at inputs of order one.

        Args:
            like: stacked parameters of the dtype and device wanted.
            count: C.
        """
        stream, found = generator(0, "specimens"), [p[:0] for p in like]
        for (weight, bias), (c, cb), n_in in zip(self.groups, self.scales, self.spec.widths[:-1], strict=True):
            for at, size in ((weight, (abs(c) or 1.0) * n_in**0.5), (bias, abs(cb) or 1.0)):
                if at is not None:
                    drawn = torch.randn(count, *like[at].shape[1:], generator=stream, dtype=torch.float64) / size
                    found[at] = drawn.to(like[at].device, like[at].dtype)
        return found

    def elements(self, samples: int) -> int:
        """Elements of one member's largest tensor when it sees ``samples`` points."""
        widths = self.spec.widths
        parameters = max(a * b for a, b in pairwise(widths))
        return max(samples * max(widths), parameters if samples > 1 else 0)

    def affine(self, layer: int, params: Sequence[Tensor], h: Tensor, out: Tensor | None = None) -> Tensor:
        """z = c W h + c' b of one layer; h (1 or C, N, n_in) -> (C, N, n_out), written into ``out`` if given."""
        weight_at, bias_at = self.groups[layer]
        w, (c, cb) = params[weight_at], self.scales[layer]
        if w.shape[-1] <= SHORT:
            if c != 1:
                w = w * c
            if bias_at is None:
                z = torch.mul(h[:, :, 0, None], w[:, None, :, 0], out=out)
            else:
                b = params[bias_at][:, None, :]
                z = torch.addcmul(b if cb == 1 else b * cb, h[:, :, 0, None], w[:, None, :, 0], out=out)
            for j in range(1, w.shape[-1]):
                z = torch.addcmul(z, h[:, :, j, None], w[:, None, :, j], out=out)
            return z
        h = h.expand(w.shape[0], -1, -1)
        if bias_at is None:
            z = torch.bmm(h, w.transpose(1, 2), out=out)
            return z if c == 1 else z.mul_(c)
        return torch.baddbmm(params[bias_at][:, None, :], h, w.transpose(1, 2), beta=cb, alpha=c, out=out)

    def forward(self, params: Sequence[Tensor], x: Tensor, work: Workspace | None = None) -> Pass:
        """All layers on inputs x (1 or C, N, d); the results lie in ``work`` if given."""
        zs, activations, features = [], [], [x]
        for layer in range(self.spec.depth - 1):
            z = self.affine(layer, params, features[-1], None if work is None else work.z[layer])
            s = self.activation.function(z) if work is None else self.activation.forward(z, work.s[layer])
            zs.append(z)
            activations.append(s)
            if self.skips[layer]:
                features.append(torch.add(features[-1], s, out=None if work is None else work.h[layer]))
            else:
                features.append(s)
        last = self.spec.depth - 1
        return Pass(zs, activations, features, self.affine(last, params, features[-1], None if work is None else work.z[last]))

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
            s = self.activation.forward(z, z)
            h = s.add_(h) if self.skips[layer] else s
        return h

    def backward(self, params: Sequence[Tensor], seen: Pass, delta: Tensor, work: Workspace | None = None) -> list[Tensor]:
        """Gradients of the parameters from delta = ∂L/∂f (C, N, K), in the order of the parameters; in ``work`` if given."""
        gradients: list[Tensor] = [delta] * len(params)
        upstream: Tensor | None = None
        for layer in reversed(range(self.spec.depth)):
            if layer < self.spec.depth - 1:
                assert upstream is not None
                # With a skip, the gradient of the features is still needed below: it may not be overwritten.
                room = None if work is None else torch.empty_like(upstream) if self.skips[layer] else upstream
                delta = self.activation.backward(upstream, seen.preactivations[layer], seen.activations[layer], room)
            weight_at, bias_at = self.groups[layer]
            c, cb = self.scales[layer]
            gradients[weight_at] = self._weight_gradient(
                delta, seen.features[layer], None if work is None else work.weights[layer]
            )
            if c != 1:
                gradients[weight_at].mul_(c)
            if bias_at is not None:
                b = torch.sum(delta, 1, out=None if work is None else work.biases[layer])
                gradients[bias_at] = b if cb == 1 else b.mul_(cb)
            if layer:
                below = self._pull_back(delta, params[weight_at], c, None if work is None else work.below[layer - 1])
                skipped = layer < self.spec.depth - 1 and self.skips[layer]
                upstream = below.add_(upstream) if skipped and upstream is not None else below
        return gradients

    @staticmethod
    def _weight_gradient(delta: Tensor, h: Tensor, out: Tensor | None) -> Tensor:
        """δᵀ h, (C, n_out, n_in)."""
        h = h.expand(delta.shape[0], -1, -1)
        if h.shape[2] <= delta.shape[2]:
            # The transposed product: a batched product with a tall, narrow result is several times slower.
            return torch.bmm(h.transpose(1, 2), delta, out=out).transpose(1, 2)
        room = None if out is None else out.view(out.shape[0], out.shape[2], out.shape[1])
        return torch.bmm(delta.transpose(1, 2), h, out=room)

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
    def _pull_back(delta: Tensor, w: Tensor, c: float, out: Tensor | None = None) -> Tensor:
        """c δ W; (C, N, n_out) -> (C, N, n_in)."""
        below = torch.mul(delta, w, out=out) if w.shape[1] == 1 else torch.bmm(delta, w, out=out)
        return below if c == 1 else below.mul_(c)
