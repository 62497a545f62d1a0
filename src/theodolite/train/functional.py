"""Any module as a stacked model, through ``torch.func``."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from theodolite.core.errors import UnsupportedError
from theodolite.core.seed import child_seed, generator
from theodolite.lens.substitution import call_with

__all__ = ["StackedModule", "stack"]


class StackedModule:
    """A module as a function of stacked parameters.

    Members go through ``vmap``; operations that it cannot batch go member by member, and so do training passes that draw random
    numbers (dropout) or change buffers (running statistics), each from a stream of its own. Evaluation is in ``eval`` mode.

    Args:
        module: the module; a copy is kept.
        names: names of the trainable parameters, in order.
        moving: names of the buffers that training changes, one set per member.
        fixed: frozen parameters and the other buffers, shared by all members.
    """

    groups: tuple[tuple[int, int | None], ...] = ()

    def __init__(self, module: nn.Module, names: Sequence[str], moving: Sequence[str], fixed: dict[str, Tensor]) -> None:
        self.template, self.quiet = copy.deepcopy(module), copy.deepcopy(module).eval()
        self.names, self.moving, self.fixed = list(names), list(moving), fixed
        self.size = sum(p.numel() for p in module.parameters())
        self.batched = True
        #: Whether training passes go member by member.
        self.alone = bool(moving) or _draws(module)
        #: Whether a sample's output depends on the others, as with batch statistics: then no set of samples may be cut.
        self.couples = any(_takes_batch_statistics(layer) for layer in self.quiet.modules())

    @property
    def kind(self) -> object:
        """What decides which operations a step consists of, shapes aside."""
        return type(self.template), str(self.template)

    def specimens(self, like: Sequence[Tensor], count: int) -> list[Tensor]:
        """Parameters of ``count`` modules in general position, always the same.

        Args:
            like: stacked parameters of the dtype and device wanted.
            count: C.
        """
        stream = generator(0, "specimens")
        drawn = [torch.randn(count, *p.shape[1:], generator=stream, dtype=torch.float64) / p[0].numel() ** 0.5 for p in like]
        return [one.to(p.device, p.dtype) for one, p in zip(drawn, like, strict=True)]

    def elements(self, samples: int) -> int:
        """A guess at the elements of one member's largest tensor: hidden sizes of a foreign module are not known."""
        return max(self.size, samples) if samples > 1 else 1

    def outputs(self, values: Sequence[Tensor], x: Tensor) -> Tensor:
        """f(x), (C, N, …), in ``eval`` mode; ``values`` are the parameters and then the moving buffers."""
        names = [*self.names, *self.moving]
        if self.batched:
            try:
                return _vmapped(self.quiet, self.fixed, names, values, x)
            except (RuntimeError, NotImplementedError, ValueError):
                # Recurrent and other fused kernels have no batching rule; if the module itself is at fault the loop says so.
                self.batched = False
        rows = range(values[0].shape[0])
        return torch.stack([_called(self.quiet, self.fixed, names, [v[e] for v in values], _row(x, e)) for e in rows])

    def training(
        self, params: Sequence[Tensor], buffers: Sequence[Tensor], x: Tensor, streams: Sequence[tuple[int, int]], step: int
    ) -> Tensor:
        """f(x), (C, N, …), in the module's own mode; differentiable, and ``buffers`` are moved in place.

        Args:
            params: trainable parameters (C, …).
            buffers: moving buffers (C, …).
            x: (1 or C, N, …).
            streams: (seed, number) of every member, from which its random numbers at this step derive.
            step: number of steps taken before.
        """
        if not self.alone and self.batched:
            try:
                return _vmapped(self.template, self.fixed, self.names, params, x)
            except (RuntimeError, NotImplementedError, ValueError):
                self.alone = True
        noise = [child_seed(seed, "noise", number, step) for seed, number in streams]
        return torch.stack([self._trained(params, buffers, _row(x, e), e, seed) for e, seed in enumerate(noise)])

    def _trained(self, params: Sequence[Tensor], buffers: Sequence[Tensor], x: Tensor, e: int, seed: int) -> Tensor:
        state = dict(zip(self.moving, (b[e] for b in buffers), strict=True))
        values = {**self.fixed, **dict(zip(self.names, (p[e] for p in params), strict=True)), **state}
        with torch.random.fork_rng(devices=[x.device] if x.device.type == "cuda" else []):
            torch.manual_seed(seed)
            result: Tensor = functional_call(self.template, values, (x,))
        for name, buffer in zip(self.moving, buffers, strict=True):
            if values[name] is not state[name]:  # the module has put another tensor in its place
                buffer[e].copy_(values[name].detach())
        return result

    def member(self, values: dict[str, Tensor], e: int) -> nn.Module:
        """A copy of the module that holds ``values`` (name -> tensor)."""
        module = copy.deepcopy(self.template)
        tensors = {**self.fixed, **values}
        for name, parameter in module.named_parameters():
            parameter.data = tensors[name].clone()
        for name, buffer in module.named_buffers():
            buffer.data = tensors[name].clone()
        return module


def _row(x: Tensor, e: int) -> Tensor:
    return x[0 if x.shape[0] == 1 else e]


def _called(module: nn.Module, fixed: dict[str, Tensor], names: Sequence[str], values: Sequence[Tensor], x: Tensor) -> Tensor:
    result: Tensor = call_with(module, {**fixed, **dict(zip(names, values, strict=True))}, (x,))
    return result


def _vmapped(module: nn.Module, fixed: dict[str, Tensor], names: Sequence[str], values: Sequence[Tensor], x: Tensor) -> Tensor:
    def one(rows: tuple[Tensor, ...], data: Tensor) -> Tensor:
        return _called(module, fixed, names, rows, data)

    shared = x.shape[0] == 1
    result: Tensor = vmap(one, in_dims=(0, None if shared else 0))(tuple(values), x[0] if shared else x)
    return result


def _takes_batch_statistics(layer: nn.Module) -> bool:
    return isinstance(layer, nn.modules.batchnorm._BatchNorm) and (layer.training or layer.running_mean is None)


def _draws(module: nn.Module) -> bool:
    """Whether a torch layer draws random numbers in its training pass; ``vmap`` itself refuses those of foreign layers."""
    kinds = (nn.modules.dropout._DropoutNd, nn.RReLU, nn.RNNBase, nn.MultiheadAttention)
    return any(layer.training and isinstance(layer, kinds) for layer in module.modules())


def _moves(layer: nn.Module) -> bool:
    """Whether a layer's training pass may change its own buffers: running statistics, and whatever a foreign layer does."""
    if isinstance(layer, nn.modules.batchnorm._NormBase):
        return layer.training and layer.track_running_stats
    return layer.training and not type(layer).__module__.startswith("torch.nn.")


def _moving(module: nn.Module) -> list[str]:
    return [
        f"{prefix}.{name}" if prefix else name
        for prefix, layer in module.named_modules()
        if _moves(layer)
        for name, _ in layer.named_buffers(recurse=False)
    ]


def stack(
    module: nn.Module, seeds: Sequence[tuple[int, int]], dtype: torch.dtype, redraw: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Trainable parameters ``[E, …]`` by name, moving buffers ``[E, …]``, and what all members share.

    Args:
        module: the module.
        seeds: (seed, number) of every member.
        dtype: dtype of floating tensors.
        redraw: draw each member's parameters anew.
    """

    def cast(value: Tensor) -> Tensor:
        return value.detach().clone().to(dtype if value.is_floating_point() else value.dtype)

    trainable = [name for name, p in module.named_parameters() if p.requires_grad]
    moving = _moving(module)
    drawn = [_redrawn(module, child_seed(s, "member", m)) if redraw else module for s, m in seeds]
    tensors = [{**dict(one.named_parameters()), **dict(one.named_buffers())} for one in drawn]
    own = {name: torch.stack([cast(t[name]) for t in tensors]) for name in (*trainable, *moving)}
    shared = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    fixed = {name: cast(value) for name, value in shared.items() if name not in own}
    return {name: own[name] for name in trainable}, {name: own[name] for name in moving}, fixed


def _redrawn(module: nn.Module, seed: int) -> nn.Module:
    fresh = copy.deepcopy(module)
    # torch's own initialisers draw from the global stream: lend them a seeded one and put the user's back.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, layer in fresh.named_modules():
            if next(layer.parameters(recurse=False), None) is None:
                continue
            reset = getattr(layer, "reset_parameters", getattr(layer, "_reset_parameters", None))
            if reset is None:
                raise UnsupportedError(
                    f"layer {name!r} ({type(layer).__name__}) has parameters but no reset_parameters to redraw them"
                )
            reset()
    return fresh
