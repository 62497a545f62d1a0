"""One case: results are compared first, then the contenders are timed in turn, so that a change of load meets all alike.

A case is a module of ``benchmarks/cases`` with ``TITLE``, ``contenders(quick) -> {name: call}`` (ours is named ``theodolite``) and,
where they apply:

- ``TOLERANCE``: greatest difference of results, relative to their size; ``reference(quick)``: what they are compared with (default:
  the first contender's result); ``APPROXIMATE``: contenders (or True for all) whose error is stated instead of being held to it;
- ``SHARE``: contender -> the share of the whole work that one call does (times are divided by it);
- ``CLOCK = "wall"`` where workers take part; ``REQUIRES = "cuda"``;
- ``floor(quick) -> Work``: what no implementation can avoid;
- ``GOALS``: contender -> how many times longer than ours it should take; ``LIMITS``: ``median_s``, ``working_mb`` -> most for ours;
- ``curves(quick)``: see `benchmarks.scaling`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.elsewhere import Elsewhere
from benchmarks.machine import environment, rates
from benchmarks.scaling import measure_curves

OURS = "theodolite"
#: A call that takes longer (seconds) is made once: the warm-up that is in a first call is little beside it.
LONGEST = 30.0
#: Seconds that one contender may be timed for, and most repeats.
BUDGET, REPEATS = float(os.environ.get("THEODOLITE_BENCH_BUDGET", "20")), 15


def difference(first: Any, second: Any) -> float:
    """Greatest difference relative to the first result's size."""
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.shape != b.shape:
        raise ValueError(f"results have shapes {a.shape} and {b.shape}")
    scale = float(np.max(np.abs(a))) if a.size else 1.0
    return float(np.max(np.abs(a - b))) / (scale or 1.0) if a.size else 0.0


def timed(call: Callable[[], Any], clock: str) -> tuple[Any, float]:
    """The result and the seconds it took, on the clock of the process that did the work."""
    # CPU time of the process is what one thread needs, whatever else the machine does.
    read = time.perf_counter if clock == "wall" else time.process_time
    start = read()
    result = call()
    spent = read() - start
    if isinstance(call, Elsewhere):
        spent = call.wall if clock == "wall" else call.cpu
    return result, spent


def skipped(case: Any) -> str | None:
    """Why a case cannot run here, or None."""
    if getattr(case, "REQUIRES", None) == "cuda":
        import torch

        if not torch.cuda.is_available():
            return "no CUDA device: torch.cuda.is_available() is False"
    return None


def measure(case: Any, quick: bool = False) -> dict[str, Any]:
    """Everything but the memory of our own process's contenders, which takes fresh processes (`memory_rows`)."""
    clock = getattr(case, "CLOCK", "cpu")
    head = {"title": case.TITLE, "clock": clock, "environment": environment(), "quick": quick}
    reason = skipped(case)
    if reason:
        return {**head, "skipped": reason, "repeats": 0, "max_difference": None, "contenders": []}
    contenders: dict[str, Callable[[], Any]] = case.contenders(quick)
    rows, first, gap = compare(case, contenders, quick)
    repeats = 3 if quick else REPEATS
    times = repeat(contenders, rows, first, clock, repeats, 2.0 if quick else BUDGET)
    for name, row in rows.items():
        if name in times:
            # A contender too slow for the whole work does a share of it, which the case states.
            share = getattr(case, "SHARE", {}).get(name, 1.0)
            whole = [t / share for t in times[name]]
            row |= {"median_s": statistics.median(whole), "min_s": min(whole), "repeats": len(whole)}
            if share != 1.0:
                row["share"] = share
    result = {
        **head,
        "repeats": repeats,
        "max_difference": gap,
        "tolerance": getattr(case, "TOLERANCE", 1e-9),
        "contenders": list(rows.values()),
    }
    if hasattr(case, "floor"):
        device = "cuda" if getattr(case, "REQUIRES", None) == "cuda" else "cpu"
        seconds, why = case.floor(quick).seconds(device)
        result["floor"] = {"median_s": seconds, "what": why, "rates": rates(device)}
    if hasattr(case, "curves"):
        result["scaling"] = measure_curves(case.curves(quick), 1 if quick else 5, (1.0 if quick else BUDGET) / 4)
    return result


def compare(
    case: Any, contenders: dict[str, Callable[[], Any]], quick: bool
) -> tuple[dict[str, dict[str, Any]], dict[str, float], float]:
    """A row per contender, with its error or its difference; the seconds of the first calls; the greatest difference."""
    tolerance, approximate = getattr(case, "TOLERANCE", 1e-9), getattr(case, "APPROXIMATE", ())
    expected: Any = case.reference(quick) if hasattr(case, "reference") else None
    rows: dict[str, dict[str, Any]] = {}
    first: dict[str, float] = {}
    gap = 0.0
    for name, call in contenders.items():
        try:
            result, first[name] = timed(call, getattr(case, "CLOCK", "cpu"))
        except Exception as error:
            kind = "" if isinstance(call, Elsewhere) else f"{type(error).__name__}: "
            rows[name] = {"name": name, "error": f"{kind}{error}".splitlines()[0]}
            continue
        row = rows[name] = {"name": name, **((isinstance(call, Elsewhere) and call.peak) or {})}
        if result is None or name.startswith("floor"):
            continue
        if expected is None:
            expected = result
            continue
        try:
            row["difference"] = difference(expected, result)
        except ValueError as error:
            rows[name] = {"name": name, "error": str(error)}
            continue
        if approximate is True or name in approximate:
            row["approximate"] = True
        elif not row["difference"] <= tolerance:
            rows[name] = {"name": name, "error": f"its result differs by {row['difference']:.1e}, more than {tolerance:.0e}"}
        else:
            gap = max(gap, row["difference"])
    return rows, first, gap


def repeat(
    contenders: dict[str, Callable[[], Any]],
    rows: dict[str, dict[str, Any]],
    first: dict[str, float],
    clock: str,
    repeats: int,
    budget: float,
) -> dict[str, list[float]]:
    """Seconds of the calls, in turn. One that took very long when results were compared is not made again: that was its time."""
    times: dict[str, list[float]] = {name: [] for name, row in rows.items() if "error" not in row}
    for name in times:
        if first[name] > LONGEST:
            times[name].append(first[name])
    for _ in range(repeats):
        for name, taken in times.items():
            if sum(taken) > budget:
                continue
            taken.append(timed(contenders[name], clock)[1])
    return times


def memory_rows(name: str, result: dict[str, Any], quick: bool) -> None:
    """Add peak resident memory to the rows of contenders of our own interpreter, each from one call in a fresh process."""
    for row in result["contenders"]:
        if "error" in row or "peak_rss_mb" in row or row["median_s"] * row.get("share", 1.0) > LONGEST:
            continue
        command = [sys.executable, "-m", "benchmarks", name, "--memory-of", row["name"], *(["--quick"] if quick else [])]
        done = subprocess.run(command, cwd=Path(__file__).parents[1], check=False, capture_output=True, text=True)
        if done.returncode == 0:
            row |= json.loads(done.stdout.splitlines()[-1])
        else:
            row["memory_error"] = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
