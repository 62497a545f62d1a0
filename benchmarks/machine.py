"""The machine's floor: measured rates of one thread, and the least time that a piece of work can take at them."""

from __future__ import annotations

import functools
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Work:
    """What a case cannot avoid: arithmetic, traffic with main memory, elementary functions of so many numbers."""

    flops: float = 0.0
    traffic: float = 0.0  # bytes read and written
    elements: Mapping[str, float] = field(default_factory=dict)
    dtype: str = "float64"

    def seconds(self, device: str = "cpu") -> tuple[float, str]:
        """The greatest of the three times, and which one it is, in words."""
        rate = rates(device)
        parts = [
            (
                self.flops / rate[f"matrix_{self.dtype}"],
                f"{self.flops:.3g} flop at {rate[f'matrix_{self.dtype}'] / 1e9:.3g} GF/s",
            ),
            (self.traffic / rate["copy"], f"{self.traffic:.3g} bytes at {rate['copy'] / 1e9:.3g} GB/s"),
        ]
        if self.elements:
            spent = sum(count * per_element(name, self.dtype) for name, count in self.elements.items())
            parts.append((spent, "elements: " + ", ".join(f"{count:.3g} {name}" for name, count in self.elements.items())))
        return max(parts)


def clocked(call: Callable[[], Any], repeats: int = 5) -> float:
    """Median CPU seconds."""
    call()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return statistics.median(times)


@functools.cache
def rates(device: str = "cpu") -> dict[str, float]:
    """Rates of matrix products (flop/s) and of copying (bytes read and written per second)."""
    import torch

    timed = clocked if device == "cpu" else _gpu_clocked
    n, size = (1000, 32_000_000) if device == "cpu" else (8192, 1 << 30)
    found = {}
    for name in ("float32", "float64"):
        a = torch.ones(n, n, dtype=getattr(torch, name), device=device)
        out = torch.empty_like(a)
        found[f"matrix_{name}"] = 2 * n**3 / timed(functools.partial(torch.mm, a, a, out=out))
    source = torch.ones(size // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    found["copy"] = 2 * size / timed(lambda: target.copy_(source))
    return found


def _gpu_clocked(call: Callable[[], Any], repeats: int = 5) -> float:
    """Median seconds between device events."""
    import torch

    call()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return statistics.median(times)


@functools.cache
def per_element(name: str, dtype: str = "float64") -> float:
    """Seconds that torch's elementary function takes for one number in cache."""
    import torch

    x = torch.linspace(-0.9, 0.9, 16_384, dtype=getattr(torch, dtype))
    x, out = (x.abs() + 0.01 if name in ("sqrt", "log") else x), torch.empty_like(x)
    function = getattr(torch, name)

    def many() -> None:
        for _ in range(20):
            function(x, out=out)

    return clocked(many) / (20 * x.numel())


def environment() -> dict[str, Any]:
    """Versions and processor, without host names or paths."""
    from importlib.metadata import version

    import torch

    packages = ("theodolite", "torch", "numpy", "scipy", "numba")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": 1,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": {name: version(name) for name in packages},
    }
