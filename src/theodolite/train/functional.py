"""Any module as a stacked model, through ``torch.func``."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from theodolite.core.errors import UnsupportedError
from theodolite.core.seed import child_seed, generator

__all__ = ["StackedModule", "stack"]


class StackedModule:
    """A module as a function of stacked parameters.

    Members go through ``vmap``; operations that it cannot batch go member by member.

    Args:
        module: the module; a copy is kept.
        names: names of the trainable parameters, in order.
        fixed: frozen parameters and buffers, shared by all members.
    """

    groups: tuple[tuple[int, int | None], ...] = ()

    def __init__(self, module: nn.Module, names: Sequence[str], fixed: dict[str, Tensor]) -> None:
        refuse_random_or_stateful(module)
        self.template = copy.deepcopy(module)
        self.names, self.fixed = list(names), fixed
        self.size = sum(p.numel() for p in module.parameters())
        self.batched = True
        #: Whether a sample's output depends on the others, as with batch statistics: then no set of samples may be cut.
        self.couples = any(_takes_batch_statistics(layer) for layer in module.modules())

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

    def outputs(self, params: Sequence[Tensor], x: Tensor) -> Tensor:
        """f(x), (C, N, …); differentiable."""
        if self.batched:
            try:
                return vmap(self._one, in_dims=(0, None if x.shape[0] == 1 else 0))(tuple(params), x[0] if x.shape[0] == 1 else x)
            except (RuntimeError, NotImplementedError, ValueError):
                # Recurrent and other fused kernels have no batching rule; if the module itself is at fault the loop says so.
                self.batched = False
        rows = range(params[0].shape[0])
        return torch.stack([self._one(tuple(p[e] for p in params), x[0 if x.shape[0] == 1 else e]) for e in rows])

    def _one(self, params: tuple[Tensor, ...], x: Tensor) -> Tensor:
        result: Tensor = functional_call(self.template, {**self.fixed, **dict(zip(self.names, params, strict=True))}, (x,))
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


def _takes_batch_statistics(layer: nn.Module) -> bool:
    return isinstance(layer, nn.modules.batchnorm._BatchNorm) and (layer.training or layer.running_mean is None)


def refuse_random_or_stateful(module: nn.Module) -> None:
    """Raise `UnsupportedError` for layers whose training pass draws random numbers or changes buffers."""
    for name, layer in module.named_modules():
        if not layer.training:
            continue
        if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0:
            raise UnsupportedError(f"layer {name!r} draws random masks, so members could not be reproduced; call .eval() on it")
        if isinstance(layer, nn.modules.batchnorm._NormBase) and layer.track_running_stats:
            raise UnsupportedError(
                f"layer {name!r} changes its running statistics while it trains, which stacked members cannot; "
                "call .eval() on it, or build it with track_running_stats=False"
            )


def stack(
    module: nn.Module, seeds: Sequence[tuple[int, int]], dtype: torch.dtype, redraw: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Trainable parameters ``[E, …]`` by name, and what all members share.

    Args:
        module: the module.
        seeds: (seed, number) of every member.
        dtype: dtype of floating tensors.
        redraw: draw each member's parameters anew.
    """
    trainable = [name for name, p in module.named_parameters() if p.requires_grad]
    everything = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    fixed = {
        name: value.detach().clone().to(dtype if value.is_floating_point() else value.dtype)
        for name, value in everything.items()
        if name not in trainable
    }
    if redraw:
        drawn = [dict(_redrawn(module, child_seed(s, "member", m)).named_parameters()) for s, m in seeds]
    else:
        drawn = [dict(module.named_parameters())] * len(seeds)
    return {name: torch.stack([d[name].detach().to(dtype) for d in drawn]) for name in trainable}, fixed


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
