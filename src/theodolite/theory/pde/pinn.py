"""Physics-informed neural networks: training on residuals, Adam then L-BFGS, with the ε-rank of every hidden layer tracked."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from theodolite.core.arrays import as_given
from theodolite.core.errors import ArgumentError, NumericalError
from theodolite.core.registry import quantity_named
from theodolite.core.schedule import Schedule, as_schedule, every
from theodolite.draw.progress import progress
from theodolite.lens import Lens
from theodolite.maths.quadrature import gauss_legendre, sobol, trapezoid
from theodolite.theory.pde.chain import network_at
from theodolite.theory.pde.history import History
from theodolite.theory.pde.measure import relative_error
from theodolite.theory.pde.operators import Operator, check_scalar, chunk_of, in_batches
from theodolite.theory.pde.points import as_points, grid_points, values_at
from theodolite.theory.pde.problem import Problem

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["PINN"]

#: Makes an optimiser of a list of parameters.
Factory = Callable[[Iterable[torch.Tensor]], torch.optim.Optimizer]


class PINN:
    """A network trained to solve a problem: loss = mean |operator(u, x) − rhs(x)|² + Σ_k w_k mean |condition_k|².

    Args:
        problem: the problem; its Dirichlet values are condition 0, further conditions follow.
        net: any module (N, d) → (N, 1), or a list of modules of one shape, which are trained side by side in one batched pass and
            independently of each other. Dtype and mode stay as they are.
        optimizer: optimiser of the first phase: None for Adam with learning rate 1e-3, a function ``parameters -> optimizer``, or,
            for one network, an optimiser of its parameters.
        points: how many collocation points, or the points, (N, d).
        boundary_points: points along each axis of a face; None for as dense as the interior.
        condition_weights: w_k, one number for all conditions or one for each.
        sampling: ``"grid"`` (equispaced), ``"sobol"``, or ``"uniform"`` (random, drawn afresh every ``resample`` steps).
        resample: see ``sampling``; 0 keeps the first draw.
        generator: source of randomness for ``"uniform"``; None draws from torch's default generator.

    Raises:
        ArgumentError: networks of different shapes, wrong outputs, points outside the domain, or weights that do not fit.

    Reference: raissi2019pinn

    Example:
        >>> from theodolite.nets.architectures import mlp
        >>> from theodolite.theory.pde.problems import poisson_1d
        >>> pinn = PINN(poisson_1d(), mlp([1, 16, 1], dtype=torch.float64), points=32)
        >>> history = pinn.train(20, when=[0, 20])
        >>> history.epsilon_rank.dims, bool(history.loss[-1] < history.loss[0])
        (('step', 'layer'), True)
    """

    def __init__(
        self,
        problem: Problem,
        net: nn.Module | Sequence[nn.Module],
        optimizer: torch.optim.Optimizer | Factory | None = None,
        *,
        points: Any = 400,
        boundary_points: int | None = None,
        condition_weights: float | Sequence[float] = 1.0,
        sampling: Literal["grid", "sobol", "uniform"] = "grid",
        resample: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        if not isinstance(problem, Problem):
            raise ArgumentError(f"problem must be a Problem, got {type(problem).__name__}")
        self.problem = problem
        self.single = isinstance(net, nn.Module)
        self.nets = [net] if isinstance(net, (nn.Module, str)) or not isinstance(net, Iterable) else list(net)
        self._check_nets()
        first = next(self.nets[0].parameters())
        self.dtype, self.device = first.dtype, first.device
        self.sampling, self.resample, self.generator = sampling, resample, generator
        self.points = points
        self._place()
        per_axis = boundary_points or max(2, round(len(self.interior) ** (1 / problem.dim)))
        self.conditions = [
            (
                c.operator,
                f"operator of condition {k}",
                c.points.to(first),
                values_at(c.values, c.points, f"condition {k}").to(first),
            )
            for k, c in enumerate(problem.all_conditions(per_axis))
        ]
        for operator, name, points, _ in [self._equation(), *self.conditions]:
            check_scalar(operator, lambda x: self.nets[0](x[None])[0, 0], points, name)
        self.condition_weights = self._weights(condition_weights)
        self.parameters = self._stacked()
        self.optimizer = self._optimizer(optimizer)
        self.step = 0
        self._lenses: list[Lens] = []
        self._curvature: dict[str, Any] | None = None

    # -- what is trained on what ----------------------------------------------------------------------------------------

    def _check_nets(self) -> None:
        modules = all(isinstance(net, nn.Module) for net in self.nets)
        shapes = [{name: p.shape for name, p in net.named_parameters()} for net in self.nets] if modules else []
        if not shapes or not shapes[0] or any(s != shapes[0] for s in shapes):
            raise ArgumentError("net must be a module with parameters, or a list of modules of one shape")
        weight = next(self.nets[0].parameters())
        try:
            with torch.no_grad():
                out = self.nets[0](self.problem.box.mean(1).to(weight)[None])
        except RuntimeError as error:
            raise ArgumentError(
                f"net must map (N, {self.problem.dim}) to (N, 1), but failed on one point of shape (1, {self.problem.dim}): {error}"
            ) from error
        if tuple(out.shape) != (1, 1):
            raise ArgumentError(f"net must map (N, {self.problem.dim}) to (N, 1), but one point gave shape {tuple(out.shape)}")

    def _place(self) -> None:
        """Choose the interior points."""
        box, points = self.problem.box, self.points
        low, high = box[:, 0].tolist(), box[:, 1].tolist()
        if not isinstance(points, Integral):
            found = as_points(points, box)
        elif points < 1:
            raise ArgumentError(f"points must be positive, got {points}")
        elif self.sampling == "grid":
            found = trapezoid(low, high, max(2, math.ceil(int(points) ** (1 / len(box)) - 1e-9)))[0]
        elif self.sampling == "sobol":
            found = sobol(low, high, int(points))[0]
        elif self.sampling == "uniform":
            device = "cpu" if self.generator is None else self.generator.device
            unit = torch.rand(int(points), len(box), dtype=torch.float64, generator=self.generator, device=device).cpu()
            found = box[:, 0] + (box[:, 1] - box[:, 0]) * unit
        else:
            raise ArgumentError(f"sampling must be 'grid', 'sobol' or 'uniform', got {self.sampling!r}")
        self.interior = found.to(self.device, self.dtype)
        self.rhs = values_at(self.problem.rhs, found, "rhs").to(self.device, self.dtype)

    def _weights(self, given: float | Sequence[float]) -> list[float]:
        weights = [float(given)] * len(self.conditions) if isinstance(given, (int, float)) else [float(w) for w in given]
        if len(weights) != len(self.conditions) or not all(0 <= w < math.inf for w in weights):
            raise ArgumentError(f"condition_weights must be one number ≥ 0, or {len(self.conditions)} of them, got {given!r}")
        return weights

    def _stacked(self) -> dict[str, torch.Tensor]:
        """Trainable parameters by name: the network's own, or leaves with a leading axis over the networks."""
        names = [name for name, p in self.nets[0].named_parameters() if p.requires_grad]
        if not names:
            raise ArgumentError("net must have a trainable parameter; all of its have requires_grad=False")
        if self.single:
            return {name: self.nets[0].get_parameter(name) for name in names}
        each = [dict(net.named_parameters()) for net in self.nets]
        return {name: torch.stack([own[name].detach() for own in each]).requires_grad_() for name in names}

    def _optimizer(self, given: torch.optim.Optimizer | Factory | None) -> torch.optim.Optimizer:
        if given is None:
            return torch.optim.Adam(self.parameters.values(), lr=1e-3)
        if isinstance(given, torch.optim.Optimizer):
            held = {id(p) for group in given.param_groups for p in group["params"]}
            if not held & {id(p) for p in self.parameters.values()}:
                raise ArgumentError(
                    "optimizer holds no parameter of net; for several networks pass a function parameters -> optimizer, such as "
                    "functools.partial(torch.optim.Adam, lr=1e-3)"
                )
            return given
        found = given(self.parameters.values()) if callable(given) else given
        if not isinstance(found, torch.optim.Optimizer):
            raise ArgumentError(
                "optimizer must be an optimiser of the parameters of net, or a function parameters -> optimizer such as "
                f"functools.partial(torch.optim.Adam, lr=1e-3), got {given!r}"
            )
        return found

    # -- the loss -------------------------------------------------------------------------------------------------------

    def _member_losses(self, parameters: dict[str, torch.Tensor]) -> torch.Tensor:
        """Residual loss, then one loss per condition, unweighted, of one network: (1 + K,)."""
        u = network_at(self.nets[0], parameters)
        chunk = chunk_of(64 * len(self.nets))
        found = []
        for operator, name, points, values in [self._equation(), *self.conditions]:
            at = in_batches(functools.partial(operator, u), (points,), name, chunk)
            found.append((at - values).square().mean())
        return torch.stack(found)

    def _equation(self) -> tuple[Operator, str, torch.Tensor, torch.Tensor]:
        return self.problem.operator, "operator", self.interior, self.rhs

    def losses(self) -> torch.Tensor:
        """Residual loss and one loss per condition, unweighted: (1 + K,), or (E, 1 + K) for a list of networks."""
        if self.single:
            return self._member_losses(self.parameters)
        return torch.func.vmap(self._member_losses)(self.parameters)

    def _total(self, losses: torch.Tensor) -> torch.Tensor:
        return losses @ torch.tensor([1.0, *self.condition_weights], dtype=losses.dtype, device=losses.device)

    # -- training -------------------------------------------------------------------------------------------------------

    def train(
        self,
        steps: int = 1000,
        *,
        lbfgs_steps: int = 0,
        when: Schedule | Callable[[int], bool] | Iterable[int] | None = None,
        eps: float = 1e-3,
    ) -> xr.Dataset:
        """Train with the optimiser for ``steps``, then with L-BFGS, looking at loss, error and ε-ranks on the way.

        Args:
            steps: steps of the first optimiser. Calling again goes on from where training stopped.
            lbfgs_steps: iterations of L-BFGS with strong Wolfe line search, in rounds of 20, each of which is looked at.
            when: when to look; None for every 100 steps. The first and last steps are always looked at.
            eps: the ε of the ranks.

        Returns:
            A dataset over ``step`` (and ``network``, for a list): ``loss``, ``losses`` over ``term``, ``error`` (relative L², if
            the exact solution is known), and ``epsilon_rank`` over ``layer``.

        Raises:
            NumericalError: the loss is not finite; the networks are left with the parameters that made it so.
            ArgumentError: a negative number of steps, or L-BFGS for several networks, whose line searches it would couple.

        Cost: per step one batched pass through the operator and its gradient; per look a forward pass and one eigen-solve per
        layer.
        """
        if steps < 0 or lbfgs_steps < 0:
            raise ArgumentError(f"steps and lbfgs_steps must not be negative, got {steps} and {lbfgs_steps}")
        if lbfgs_steps and not self.single:
            raise ArgumentError("lbfgs_steps needs a single network: one line search for several would couple them")
        schedule = as_schedule(every(100) if when is None else when)
        looks = set(schedule.looks(steps))
        history = History(self.single, ["residual", *(f"condition {k}" for k in range(len(self.conditions)))])
        start = self.step
        for k in progress(range(steps + 1), "training a PINN"):
            if k in looks:
                self._look(history, eps, "first")
            if k < steps:
                self._advance(k)
        self._curvature = None  # curvature pairs of an earlier call are not those of here
        for _ in progress(range(math.ceil(lbfgs_steps / 20)), "L-BFGS"):
            self._refine(min(20, lbfgs_steps - (self.step - start - steps)))
            self._look(history, eps, "L-BFGS")
        return history.dataset()

    def _advance(self, k: int) -> None:
        if self.sampling == "uniform" and self.resample and k and k % self.resample == 0:
            self._place()

        def closure() -> torch.Tensor:
            self.optimizer.zero_grad()
            loss = self._finite(self._total(self.losses()).sum())
            loss.backward()
            return loss

        self.optimizer.step(closure)  # type: ignore[arg-type]
        self.step += 1

    def _finite(self, loss: torch.Tensor) -> torch.Tensor:
        """``loss`` itself; raises where it is no number any more."""
        if not bool(torch.isfinite(loss)):
            self._write_back()
            raise NumericalError(f"the loss is {float(loss.detach())} at step {self.step}; lower the learning rate")
        return loss

    def _refine(self, iterations: int) -> None:
        optimizer = torch.optim.LBFGS(
            self.parameters.values(),
            max_iter=iterations,
            history_size=50,
            line_search_fn="strong_wolfe",
            tolerance_grad=0.0,
            tolerance_change=0.0,
        )
        if self._curvature is not None:  # go on with the curvature pairs of the round before
            optimizer.load_state_dict(self._curvature)
            optimizer.param_groups[0]["max_iter"] = iterations

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = self._total(self.losses()).sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        self._curvature = optimizer.state_dict()
        self.step += iterations

    # -- looking --------------------------------------------------------------------------------------------------------

    def _write_back(self) -> None:
        """Copy stacked parameters into the networks."""
        if self.single:
            return
        with torch.no_grad():
            for e, net in enumerate(self.nets):
                own = dict(net.named_parameters())
                for name, values in self.parameters.items():
                    own[name].copy_(values[e])

    def _look(self, history: History, eps: float, phase: str) -> None:
        self._write_back()
        losses = self.losses().detach()
        self._finite(self._total(losses).sum())
        history.add(
            step=self.step,
            phase=phase,
            losses=losses.double().cpu(),
            loss=self._total(losses).double().cpu(),
            error=self._errors(),
            ranks=self.epsilon_rank(eps),
        )

    def _errors(self) -> list[float]:
        if self.problem.exact is None:
            return []
        points = grid_points(self.problem.box)
        exact = values_at(self.problem.exact, points, "exact")
        with torch.no_grad():
            return [relative_error(net(points.to(self.device, self.dtype))[:, 0].double().cpu(), exact) for net in self.nets]

    def epsilon_rank(self, eps: float = 1e-3) -> Any:
        """ε-rank of every hidden layer in L²(dx) on the domain: layer -> rank, or a list of these for a list of networks."""
        rank = quantity_named("rank.epsilon_rank").function
        points, weights = _probe(self.problem.box)
        self._write_back()
        if self._lenses:
            self._lenses = [lens.again() for lens in self._lenses]
        else:
            self._lenses = [Lens(net, points.to(self.device, self.dtype)) for net in self.nets]
        found = [{name: int(rank(f.cpu(), weights, eps=eps)) for name, f in lens.features.items()} for lens in self._lenses]
        return found[0] if self.single else found

    @property
    def error(self) -> Any:
        """Relative L² error (a list for a list of networks); None when the exact solution is not known."""
        self._write_back()
        errors = self._errors()
        if not errors:
            return None
        return errors[0] if self.single else errors

    def __call__(self, x: Any) -> Any:
        """u at points (N, d) → (N,) in float64, or (E, N) for a list of networks; numpy in, numpy out."""
        self._write_back()
        points = as_points(x, self.problem.box, "x").to(self.device, self.dtype)
        with torch.no_grad():
            values = torch.stack([net(points)[:, 0].double() for net in self.nets])
        return as_given(values[0] if self.single else values, x)


def _probe(box: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Quadrature for ε-ranks: about 10³ Gauss–Legendre nodes, or Sobol points beyond three axes."""
    low, high = box[:, 0].tolist(), box[:, 1].tolist()
    if len(box) > 3:
        return sobol(low, high, 4096)
    return gauss_legendre(low, high, {1: 256, 2: 36, 3: 12}[len(box)])
