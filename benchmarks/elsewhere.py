"""A contender that runs in another interpreter, because what it needs cannot be installed beside our own packages.

The environments are requirement files in ``benchmarks/environments``; ``python -m benchmarks.environments`` (``make bench-peers``)
builds them under ``.venvs``, or under the folder named by ``THEODOLITE_BENCH_ENVIRONMENTS``. One process per contender is kept, and
is asked for one call at a time in turn with the contenders of this process. Where the environment is not there, this
interpreter is tried, and the import error is what is reported.
"""

from __future__ import annotations

import atexit
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


class PeerError(RuntimeError):
    """What went wrong in the other process."""


def environments_folder() -> Path:
    """Where the peers' environments stand."""
    return Path(os.environ.get("THEODOLITE_BENCH_ENVIRONMENTS", ROOT / ".venvs"))


def interpreter(environment: str) -> tuple[str, bool]:
    """The environment's Python and True, or this one and False."""
    python = environments_folder() / environment / "bin" / "python"
    return (str(python), True) if python.exists() else (sys.executable, False)


@dataclass
class Elsewhere:
    """``function(**arguments)``, a ``"module:name"`` that prepares the work and returns the call to be timed, in ``environment``.

    Calling it gives the result; ``cpu`` and ``wall`` are then the seconds that the call took there, ``peak`` its memory.
    """

    environment: str
    function: str
    arguments: dict[str, Any] = field(default_factory=dict)
    cpu: float = 0.0
    wall: float = 0.0
    peak: dict[str, float] | None = None
    process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> Any:
        """One call there."""
        request = "again"
        if self.process is None:
            self._start()
            request = "first"
        _, result, self.cpu, self.wall, peak = self._ask((request,))
        self.peak = peak or self.peak
        return result

    def _start(self) -> None:
        python, built = interpreter(self.environment)
        settings = {"PYTHONPATH": str(ROOT), "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false", "JAX_PLATFORMS": "cpu"}
        self.process = subprocess.Popen(
            [python, "-m", "benchmarks.worker"],
            cwd=ROOT,
            env={**os.environ, **settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        atexit.register(self.close)
        try:
            self._ask(("make", self.function, self.arguments))
        except PeerError as error:
            advice = "" if built else f" (environment {self.environment!r} is not built: make bench-peers)"
            raise PeerError(f"{error}{advice}") from None

    def _ask(self, request: tuple[Any, ...]) -> tuple[Any, ...]:
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            pickle.dump(request, self.process.stdin)
            self.process.stdin.flush()
            reply: tuple[Any, ...] = pickle.load(self.process.stdout)
        except (EOFError, BrokenPipeError):
            code = self.process.wait()
            self.process = None
            raise PeerError(f"its process ended with code {code}") from None
        if reply[0] == "error":
            self.close()
            raise PeerError(reply[1])
        return reply

    def close(self) -> None:
        """End the process."""
        process, self.process = self.process, None
        if process is not None:
            process.communicate()
