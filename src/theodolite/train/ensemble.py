"""Ensembles: E networks of one shape, trained at once, with parameters ``[E, …]``."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from theodolite.core.errors import ArgumentError, StoreError
from theodolite.core.seed import generator
from theodolite.train.evaluate import evaluate
from theodolite.train.initial import find_init
from theodolite.train.member import make_module
from theodolite.train.network import Network
from theodolite.train.spec import MLPSpec

if TYPE_CHECKING:
    from theodolite.core.record import Record
    from theodolite.train.functional import StackedModule
    from theodolite.train.losses import Loss
    from theodolite.train.optimizers import Optimizer

__all__ = ["Ensemble"]


class Ensemble:
    """E networks of one specification, trained at once; a single run is E = 1.

    Member e is bit-identical whatever E, chunk or worker: its random stream depends on its seed and number alone, and its
    arithmetic on the specification and the data alone.

    Args:
        spec: the shape and the initialisation.
        members: E, or the members' numbers (a worker that trains members 64…127 passes ``range(64, 128)``).
        dtype: dtype of the parameters. float64 resolves gradients of small initialisations that float32 loses.
        device: where they live.
        seed: one seed, from which every member derives its own stream by its number; or one seed per member, [E] (equal seeds
            then draw equal numbers: common random numbers across a sweep).
        init_scale: factor on the drawn parameters: a number, [E], or [E, L] with one factor per layer.

    Attributes:
        spec: the specification.
        members: the members' numbers.
        parameters: name -> tensor [E, …]; may be changed in place.

    Raises:
        ArgumentError: no members, repeated numbers, or seeds or scales of a wrong length.

    Example:
        >>> ensemble = Ensemble(MLPSpec((1, 20, 1), "tanh"), 3, dtype=torch.float64)
        >>> x = torch.linspace(-1, 1, 8, dtype=torch.float64)[:, None]
        >>> record = ensemble.train(x, torch.sin(3 * x), steps=50, lr=0.05)
        >>> record.data["loss"].sizes
        Frozen({'member': 3, 'step': 51})
        >>> ensemble.forward(x).shape
        torch.Size([3, 8, 1])
    """

    def __init__(
        self,
        spec: MLPSpec,
        members: int | Sequence[int],
        *,
        dtype: torch.dtype = torch.float64,
        device: str | torch.device = "cpu",
        seed: int | Sequence[int] | Tensor = 0,
        init_scale: float | Sequence[float] | Tensor = 1.0,
    ) -> None:
        if not isinstance(spec, MLPSpec):
            raise ArgumentError(f"spec must be an MLPSpec, got {type(spec).__name__}; for a module use Ensemble.from_module")
        if dtype not in (torch.float32, torch.float64):
            raise ArgumentError(f"dtype must be torch.float32 or torch.float64, got {dtype}")
        self.spec: MLPSpec | None = spec
        self.members = member_numbers(members)
        self.seeds = member_seeds(seed, self.members)
        self.dtype, self.device = dtype, find_device(device)
        self.model: Network | StackedModule = Network(spec)
        self.parameters = self._draw(spec, init_scale)
        self.buffers: dict[str, Tensor] = {}

    def _draw(self, spec: MLPSpec, init_scale: Any) -> dict[str, Tensor]:
        scale = _scales(init_scale, len(self.members), spec.depth)
        stacked = {
            name: torch.empty(len(self.members), *shape, dtype=self.dtype) for name, shape in spec.parameter_shapes.items()
        }
        init = find_init(spec.init)
        for row, (seed, path) in enumerate(self.seeds):
            for k, (weight, bias) in enumerate(init.draw(spec, generator(seed, "member", path))):
                stacked[f"{spec.layers[k]}.weight"][row] = weight * scale[row, k]
                if bias is not None:
                    stacked[f"{spec.layers[k]}.bias"][row] = bias * scale[row, k]
        return {name: value.to(self.device) for name, value in stacked.items()}

    @classmethod
    def from_module(
        cls,
        module: nn.Module,
        members: int | Sequence[int],
        *,
        dtype: torch.dtype | None = None,
        seed: int | Sequence[int] | Tensor = 0,
        redraw: bool = False,
    ) -> Ensemble:
        """An ensemble of copies of any module, through ``torch.func``: the slow general route.

        Args:
            module: any module; it is trained in the mode that it is in, evaluated in ``eval`` mode, and left as it was found. In
                training mode every member has dropout masks and running statistics of its own, and goes through its steps alone.
            members: E, or the members' numbers.
            dtype: dtype of the parameters; None: the module's own.
            seed: as for the class; used by mini-batches, by dropout and other noise, and by ``redraw``.
            redraw: draw every member anew by the ``reset_parameters`` of its layers, each from its own stream; otherwise every
                member starts at the module's own parameters.

        Raises:
            ArgumentError: not a module, or no trainable parameters.
            UnsupportedError: ``redraw`` on a layer with parameters but without ``reset_parameters``.

        Example:
            >>> module = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
            >>> Ensemble.from_module(module, 4).parameters["0.weight"].shape
            torch.Size([4, 3, 2])
        """
        from theodolite.train.functional import StackedModule, stack

        if not isinstance(module, nn.Module):
            raise ArgumentError(f"module must be a torch.nn.Module, got {type(module).__name__}")
        first = next((p for p in module.parameters() if p.requires_grad), None)
        if first is None:
            raise ArgumentError("module has no parameters to train (none, or all of them frozen by requires_grad=False)")
        self = cls.__new__(cls)
        self.spec = None
        self.members = member_numbers(members)
        self.seeds = member_seeds(seed, self.members)
        self.dtype, self.device = dtype or first.dtype, first.device
        self.parameters, self.buffers, fixed = stack(module, self.seeds, self.dtype, redraw)
        self.model = StackedModule(module, list(self.parameters), list(self.buffers), fixed)
        return self

    def __len__(self) -> int:
        return len(self.members)

    def __repr__(self) -> str:
        what = self.spec if self.spec is not None else type(self.model.template).__name__  # type: ignore[union-attr]
        return f"Ensemble({what}, members={len(self)}, dtype={self.dtype}, device={self.device})"

    def train(
        self,
        x: Any,
        y: Any,
        *,
        steps: int,
        loss: str | Loss | Callable[[Tensor, Tensor], Tensor] = "mse",
        optimizer: str | Optimizer = "sgd",
        lr: float | Sequence[float] | Tensor = 1e-2,
        schedule: Any = None,
        probes: Any = (),
        **options: Any,
    ) -> Record:
        """Train all members and record what was seen at the scheduled looks.

        The run is a sequence of segments between looks; inside a segment nothing is synchronised, converted or measured.

        Args:
            x: inputs (N, d), or (E, N, d) with data of each member's own.
            y: targets (N, K) or (E, N, K); class numbers (N,) or (E, N) for the cross-entropy.
            steps: optimiser steps.
            loss: ``"mse"``, ``"half_mse"``, ``"cross_entropy"``, ``"logistic"``, ``"exponential"``, or a `Loss`.
            optimizer: ``"gd"``, ``"sgd"``, ``"momentum"``, ``"adam"``, ``"normalized_gd"``, or an object with its settings.
            lr: learning rate: a number, [E], or [E, L] with one per layer.
            schedule: when to look: a `Schedule`, a function of the step, or a list of steps; None: log-spaced, ten per decade.
                Steps 0 and ``steps`` are always looked at.
            probes: what to measure at looks: names of quantities (``"rank.epsilon_rank"``), (name, settings) pairs, functions of
                a `View`, functions whose parameters are named as needs (``features``, ``weights``, …), or a dict of these.
            **options: see `theodolite.train.options.Options`: ``test``, ``batch_size``, ``backend``, ``target_loss``,
                ``diverge_above``, ``checkpoint``, ….

        Returns:
            A Record whose data hold ``loss`` (member, step): the loss before each step, the last entry after the last one;
            ``train_loss`` and ``test_loss`` (member, look); every probe over (member, look, …); ``status`` and ``stopped_at``
            (member).

        Raises:
            ArgumentError: data, rates or options that break a rule (named), for example NaN targets.
        """
        from theodolite.train.loop import Run, Task
        from theodolite.train.options import Options

        task = Task(x, y, steps, loss, optimizer, lr, schedule, probes)
        return Run(self, task, Options.of(options)).record()

    @property
    def tensors(self) -> list[Tensor]:
        """All that the outputs depend on and that members do not share: parameters, then moving buffers; each (E, …)."""
        return [*self.parameters.values(), *self.buffers.values()]

    def rows(self, index: Tensor) -> Ensemble:
        """The members of some rows, as an ensemble of copies of their tensors.

        Args:
            index: rows.
        """
        some = copy.copy(self)
        some.members = tuple(self.members[row] for row in index.tolist())
        some.seeds = [self.seeds[row] for row in index.tolist()]
        some.parameters = {name: value[index] for name, value in self.parameters.items()}
        some.buffers = {name: value[index] for name, value in self.buffers.items()}
        return some

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the affine layers, first to last.

        Raises:
            ArgumentError: the ensemble was made from a module.
        """
        return self._specification().layers

    @torch.no_grad()
    def forward(self, x: Any) -> Tensor:
        """Outputs f(x) of all members, computed in blocks.

        Args:
            x: (N, d) or (E, N, d).

        Returns:
            (E, N, K).
        """
        return evaluate(self.model, self.tensors, self.inputs(x))

    __call__ = forward

    @torch.no_grad()
    def features(self, x: Any) -> list[Tensor]:
        """Hidden features h_l(x) of all members, one (E, N, n_l) per hidden layer.

        Args:
            x: (N, d) or (E, N, d).
        """
        return self._pass(x).features[1:]

    @torch.no_grad()
    def preactivations(self, x: Any) -> list[Tensor]:
        """What the activation is applied to, one (E, N, n_l) per hidden layer.

        Args:
            x: (N, d) or (E, N, d).
        """
        return self._pass(x).preactivations

    def _pass(self, x: Any) -> Any:
        self._specification()
        assert isinstance(self.model, Network)
        return self.model.forward(list(self.parameters.values()), self.inputs(x))

    def weights(self, layer: str | int) -> Tensor:
        """Incoming weights of a layer, one row per neuron with its bias as last column if it has one: (E, n, d [+ 1]).

        Args:
            layer: name or number.
        """
        layers = self.layers
        name = layers[layer] if isinstance(layer, int) else layer
        if name not in layers:
            raise ArgumentError(f"layer must be one of {', '.join(layers)} or its number, got {layer!r}")
        weight, bias = self.parameters[f"{name}.weight"], self.parameters.get(f"{name}.bias")
        return weight if bias is None else torch.cat([weight, bias[..., None]], -1)

    def member(self, e: int) -> nn.Module:
        """Row e as a plain module with a copy of its parameters.

        Args:
            e: row, 0 ≤ e < E (negative counts from the end).

        Raises:
            ArgumentError: no such row.
        """
        if not -len(self) <= e < len(self):
            raise ArgumentError(f"e must be a row of the ensemble, 0..{len(self) - 1}, got {e}")
        values = {name: value[e].detach().clone() for name, value in (*self.parameters.items(), *self.buffers.items())}
        if self.spec is None:
            return self.model.member(values, e)  # type: ignore[union-attr]
        return make_module(self.spec, values)

    def inputs(self, x: Any) -> Tensor:
        """Inputs as (1 or E, N, …) in the ensemble's dtype and on its device, checked.

        Args:
            x: (N, d) or (E, N, d).

        Raises:
            ArgumentError: wrong shape or non-finite entries.
        """
        from theodolite.train.loop import prepare_inputs

        return prepare_inputs(self, x)

    def save(self, path: str | Path) -> Path:
        """Write members, seeds and parameters to a file, atomically.

        Args:
            path: the file.
        """
        from theodolite.train.checkpoint import write

        key = self._specification().key
        parameters = {name: value.cpu() for name, value in self.parameters.items()}
        content = {"key": key, "members": self.members, "seeds": self.seeds, "parameters": parameters}
        return write(path, content)

    @classmethod
    def load(cls, path: str | Path, spec: MLPSpec, *, device: str | torch.device = "cpu") -> Ensemble:
        """Read an ensemble written by `save`.

        Args:
            path: the file.
            spec: the specification that it was made with (functions in it cannot be stored, so it is given again).
            device: where the parameters are to live.

        Raises:
            StoreError: there is no such file, or it belongs to another specification.
        """
        from theodolite.train.checkpoint import read

        content = read(path)
        if content["key"] != spec.key:
            raise StoreError(f"{path} holds an ensemble of another specification; load it with the one it was made with")
        self = cls.__new__(cls)
        self.spec, self.members, self.seeds = spec, tuple(content["members"]), [tuple(s) for s in content["seeds"]]
        self.parameters, self.buffers = {name: value.to(find_device(device)) for name, value in content["parameters"].items()}, {}
        self.dtype, self.device = next(iter(self.parameters.values())).dtype, find_device(device)
        self.model = Network(spec)
        return self

    def _specification(self) -> MLPSpec:
        if self.spec is None:
            raise ArgumentError("this ensemble was made from a module and has no layers of its own; use member(e) with td.Lens")
        return self.spec


def find_device(device: str | torch.device) -> torch.device:
    """The device, checked.

    Raises:
        ArgumentError: no such device, or a GPU where there is none.
    """
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ArgumentError(f"device must be the name of a torch device such as 'cpu' or 'cuda', got {device!r}") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ArgumentError(f"device {str(device)!r} is not available here: torch sees no GPU; use device='cpu'")
    return found


def member_numbers(members: int | Sequence[int]) -> tuple[int, ...]:
    """0..E−1, or the given numbers, checked."""
    numbers = tuple(range(int(members))) if isinstance(members, Integral) else tuple(int(m) for m in members)  # type: ignore[union-attr]
    if not numbers:
        raise ArgumentError(f"members must be at least 1, got {members!r}")
    if len(set(numbers)) < len(numbers) or min(numbers) < 0:
        raise ArgumentError("members must be distinct non-negative numbers")
    return numbers


def member_seeds(seed: Any, members: Sequence[int]) -> list[tuple[int, int]]:
    """(seed, number) from which each member's stream derives."""
    if isinstance(seed, Integral):
        return [(int(seed), m) for m in members]
    seeds = [int(s) for s in seed] if not isinstance(seed, Tensor) or seed.ndim else [int(seed)] * len(members)
    if len(seeds) != len(members):
        raise ArgumentError(f"seed must be one number or one per member ({len(members)}), got {len(seeds)}")
    return [(s, 0) for s in seeds]


def _scales(scale: Any, members: int, depth: int) -> Tensor:
    """Initial factors as (E, L)."""
    factors = torch.as_tensor(scale, dtype=torch.float64).cpu()
    if factors.ndim == 0:
        factors = factors.expand(members)
    if factors.ndim == 1:
        factors = factors[:, None].expand(-1, depth)
    if factors.shape != (members, depth) or not bool(torch.isfinite(factors).all()):
        raise ArgumentError(
            f"init_scale must be a finite number, [{members}] or [{members}, {depth}], got {tuple(factors.shape)}"
        )
    return factors
