"""The harness: results are checked equal first, then contenders are timed in turn, and medians are written with the environment."""

from __future__ import annotations

import os

# One thread each, set before any numerical library is imported: two threads on a busy core pair were many times slower.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import difflib
import importlib
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
RESULTS = HERE / "results"
TABLE = HERE.parent / "docs" / "benchmarks.md"

#: Seconds that one contender may be timed for, and most repeats.
BUDGET, REPEATS = 20.0, 15


def names() -> list[str]:
    """All cases."""
    return sorted(path.stem for path in (HERE / "cases").glob("*.py") if not path.stem.startswith("_"))


def difference(first: Any, second: Any) -> float:
    """Greatest difference relative to the first result's size."""
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.shape != b.shape:
        raise ValueError(f"results have shapes {a.shape} and {b.shape}")
    scale = float(np.max(np.abs(a))) if a.size else 1.0
    return float(np.max(np.abs(a - b))) / (scale or 1.0) if a.size else 0.0


def measure(case: Any, quick: bool) -> dict[str, Any]:
    """One case: results first, then times, in turn so that a change of load meets all contenders alike."""
    contenders: dict[str, Callable[[], Any]] = case.contenders(quick)
    tolerance = getattr(case, "TOLERANCE", 1e-9)
    expected: Any = None
    rows: dict[str, dict[str, Any]] = {}
    gap = 0.0
    for name, call in contenders.items():
        try:
            result = call()
        except Exception as error:
            rows[name] = {"name": name, "error": f"{type(error).__name__}: {error}".splitlines()[0]}
            continue
        rows[name] = {"name": name, "times": []}
        if result is None or name.startswith("floor"):
            continue
        if expected is None:
            expected = result
            continue
        found = difference(expected, result)
        rows[name]["difference"] = found
        if found > tolerance:
            rows[name] = {"name": name, "error": f"its result differs by {found:.1e}, more than {tolerance:.0e}"}
        else:
            gap = max(gap, found)
    alive = [name for name, row in rows.items() if "times" in row]
    spent = dict.fromkeys(alive, 0.0)
    repeats = 3 if quick else REPEATS
    # CPU time of this process is what one thread needs, whatever else the machine does; cases with workers ask for the wall clock.
    clock = time.perf_counter if getattr(case, "CLOCK", "cpu") == "wall" else time.process_time
    for _ in range(repeats):
        for name in alive:
            if spent[name] > (2.0 if quick else BUDGET) and rows[name]["times"]:
                continue
            start = clock()
            contenders[name]()
            elapsed = clock() - start
            # A contender too slow for the whole work does a share of it, which the case states.
            rows[name]["times"].append(elapsed / getattr(case, "SHARE", {}).get(name, 1.0))
            spent[name] += elapsed
    for row in rows.values():
        times = row.pop("times", None)
        if times:
            row |= {"median_s": statistics.median(times), "min_s": min(times), "repeats": len(times)}
    return {
        "title": case.TITLE,
        "clock": getattr(case, "CLOCK", "cpu"),
        "environment": environment(),
        "repeats": repeats,
        "quick": quick,
        "max_difference": gap,
        "tolerance": tolerance,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "contenders": list(rows.values()),
    }


def environment() -> dict[str, Any]:
    """Versions and processor, without host names or paths."""
    from importlib.metadata import version

    packages = ("theodolite", "torch", "numpy", "scipy", "numba")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": 1,
        "versions": {name: version(name) for name in packages},
    }


def table() -> str:
    """Markdown of all results that are there."""
    lines = ["# Benchmarks", "", "One process, one thread, medians of CPU time (wall time where workers take part); results are checked equal before anything is timed.", ""]
    for path in sorted(RESULTS.glob("*.json")):
        result = json.loads(path.read_text())
        lines += [f"## {result['title']}", "", "| contender | median | ratio to ours |", "|---|---|---|"]
        ours = next((c.get("median_s") for c in result["contenders"] if c["name"] == "theodolite"), None)
        for c in result["contenders"]:
            if "error" in c:
                lines.append(f"| {c['name']} | {c['error']} | |")
            else:
                ratio = f"{c['median_s'] / ours:.3g}×" if ours else ""
                lines.append(f"| {c['name']} | {seconds(c['median_s'])} | {ratio} |")
        lines += ["", f"Greatest difference of results {result['max_difference']:.1e} (allowed {result['tolerance']:.0e}).", ""]
    return "\n".join(lines)


def seconds(value: float) -> str:
    """A duration with a fitting unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def main(words: Sequence[str]) -> int:
    """Run cases, each in a process of its own, and write results and table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help="cases (default: all)")
    parser.add_argument("--quick", action="store_true", help="small sizes and few repeats; results are printed, not kept")
    parser.add_argument("--list", action="store_true", help="list the cases")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(list(words))
    if given.list:
        print("\n".join(names()))
        return 0
    for name in given.names:
        if name not in names():
            near = difflib.get_close_matches(name, names())
            print(
                f"error: unknown benchmark {name!r}"
                + (f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(names())}"),
                file=sys.stderr,
            )
            return 2
    if given.one:
        return one(given.names[0], given.quick)
    code = 0
    for name in given.names or names():
        command = [sys.executable, "-m", "benchmarks", name, "--one", *(["--quick"] if given.quick else [])]
        code |= subprocess.run(command, cwd=HERE.parent, check=False).returncode
    if not given.quick:
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text(table() + "\n", encoding="utf-8")
    return code


def one(name: str, quick: bool) -> int:
    """One case in this process."""
    import torch

    torch.set_num_threads(1)
    result = measure(importlib.import_module(f"benchmarks.cases.{name}"), quick)
    print(f"\n{result['title']}  [{name}]")
    ours = next((c.get("median_s") for c in result["contenders"] if c["name"] == "theodolite"), None)
    for c in result["contenders"]:
        shown = (
            c["error"] if "error" in c else f"{seconds(c['median_s']):>10}" + (f"  {c['median_s'] / ours:8.3g}×" if ours else "")
        )
        print(f"  {c['name']:<40} {shown}")
    if not quick:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0 if ours is not None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
