"""Tiny experiments that workers can import."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from theodolite.lab import Artefact


@dataclass(frozen=True)
class Product:
    """Deterministic pseudo-random results of every kind that a grid holds."""

    a: float
    b: int = 0
    scale: float = 1.0

    def run(self) -> dict[str, Any]:
        rng = np.random.default_rng([int(self.a * 1000), self.b])
        return {
            "product": self.a * self.b * self.scale,
            "draws": rng.normal(size=3),
            "count": int(rng.integers(100)),
            "odd": bool(self.b % 2),
        }


@dataclass(frozen=True)
class Slow(Product):
    """The same with a duration, leaving its process's number where a murderer finds it."""

    pids: str = ""
    seconds: float = 0.05

    def run(self) -> dict[str, Any]:
        if self.pids:
            (Path(self.pids) / str(os.getpid())).touch()
        time.sleep(self.seconds)
        return super().run()


@dataclass(frozen=True)
class Poison(Product):
    """One cell kills its process, one raises, one exits, one is NaN."""

    def run(self) -> dict[str, Any]:
        if self.b == 3:
            os.kill(os.getpid(), 9)
        if self.b == 4:
            raise ValueError("b is four")
        if self.b == 5:
            return {**super().run(), "product": float("nan")}
        return super().run()


@dataclass(frozen=True)
class Faulty(Product):
    """Fails in every way that does not end the process."""

    def __post_init__(self) -> None:
        if self.b == 1:
            raise ValueError("b must not be 1")

    def run(self) -> Any:
        if self.b == 2:
            return 5
        if self.b == 3:
            raise SystemExit(3)
        if self.b == 4:
            return {"product": object()}
        if self.b == 5:
            return {"product": [[1], [1, 2]]}
        if self.b == 6:
            return {**super().run(), "product": float("nan")}
        return super().run()


@dataclass(frozen=True)
class Stacked:
    """Offers ``measure_many``; says how many were run together."""

    width: int
    rate: float
    seed: int = 0
    trap: float = -1.0

    def run(self) -> dict[str, Any]:
        if self.rate == self.trap:
            raise ArithmeticError("diverged")
        return {"value": self.width * self.rate + self.seed, "together": 1}

    @classmethod
    def measure_many(cls, experiments: Sequence[Stacked]) -> list[Any]:
        import xarray as xr

        assert len({e.width for e in experiments}) == 1
        if any(e.rate == e.trap for e in experiments):
            raise ArithmeticError("the stack diverged")
        together = len(experiments)
        return [xr.Dataset({"value": e.width * e.rate + e.seed, "together": together}) for e in experiments]


@dataclass(frozen=True)
class Ragged:
    """Shapes, types and coordinates that depend on the settings, and a heavy artefact."""

    depth: int
    seed: int = 0

    def run(self) -> Any:
        import xarray as xr

        from theodolite.core.record import Record

        layers = np.arange(self.depth)
        data = xr.Dataset(
            {
                "norm": ("layer", self.depth + layers * 0.5, {"units": "1", "description": "norm of each layer"}),
                "kind": ((), "deep" if self.depth > 2 else "flat"),
                "size": self.depth if self.depth < 4 else self.depth + 0.5,
            },
            {"layer": layers, "depth": self.depth, "time": ("step", np.arange(2) * 0.1 * self.depth, {"units": "s"})},
            {"figure": "none"},
        )
        data["loss"] = ("step", np.arange(2.0) + self.seed)
        return Record("test", {}, data, {})


@dataclass(frozen=True)
class Heavy:
    """Returns artefacts of varying length."""

    n: int

    def run(self) -> dict[str, Any]:
        return {
            "spectrum": Artefact(np.arange(self.n, dtype=float)),
            "top": float(self.n),
            "shared": Artefact({"w": [1.0], "b/0": [2]}),
        }


@dataclass(frozen=True)
class Busy:
    """CPU-bound Python for about a fixed number of operations."""

    seed: int
    operations: int = 20_000

    def run(self) -> dict[str, float]:
        x = float(self.seed)
        for _ in range(self.operations):
            x = (x * 1.000001 + 0.5) % 7.0
        return {"x": x}


@dataclass(frozen=True)
class Constant:
    """The cheapest possible cell."""

    i: int
    value: float = 1.0

    def run(self) -> dict[str, float]:
        return {"value": self.value * self.i}


@dataclass(frozen=True)
class Logged(Product):
    """Notes each time that it is run, and by whom."""

    log: str = ""
    seconds: float = 0.02

    def run(self) -> dict[str, Any]:
        with open(self.log, "a") as file:
            file.write(f"{os.getpid()} {self.a} {self.b}\n")
        time.sleep(self.seconds)
        return super().run()


@dataclass(frozen=True)
class Threaded(Product):
    """A matrix product whose rounding shows the number of threads, and that number."""

    def run(self) -> dict[str, Any]:
        import threadpoolctl

        x = np.random.default_rng(self.b).normal(size=(150, 3000)) * self.a
        threads = max([library["num_threads"] for library in threadpoolctl.threadpool_info()], default=1)
        return {**super().run(), "norm": float(np.linalg.norm(x @ x.T)), "threads": threads}


class Unpicklable(Exception):
    def __init__(self, one: Any, two: Any) -> None:
        super().__init__(one)


def raise_unpicklable() -> None:
    raise Unpicklable("no way", 2)


def end_by(number: int) -> None:
    os.kill(os.getpid(), number)


def slow_getenv(name: str) -> str | None:
    time.sleep(0.3)
    return os.getenv(name)


@dataclass(frozen=True)
class BlockKernel:
    """Blocks of a linear kernel."""

    x: np.ndarray

    def __call__(self, rows: slice, columns: slice) -> np.ndarray:
        return self.x[rows] @ self.x[columns].T


@dataclass(frozen=True)
class MortalKernel(BlockKernel):
    """The same; the first process that comes to it dies."""

    mark: str

    def __call__(self, rows: slice, columns: slice) -> np.ndarray:
        if not Path(self.mark).exists():
            Path(self.mark).touch()
            os._exit(1)
        return super().__call__(rows, columns)


@dataclass(frozen=True)
class Rotated:
    """A complex result."""

    angle: float

    def run(self) -> dict[str, complex]:
        return {"z": complex(np.exp(1j * self.angle))}


@dataclass(frozen=True)
class Labelled:
    """A dataset with attributes: one that depends on the cell, one that differs in a single cell, one that never does."""

    a: int = 0

    def run(self) -> Any:
        import xarray as xr

        attrs = {"square": float(self.a) ** 2, "kind": "odd one" if self.a == 4 else "usual", "paper": "yes"}
        return xr.Dataset({"value": ((), float(self.a))}, attrs=attrs)
