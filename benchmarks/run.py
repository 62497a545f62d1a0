"""The command: which cases, each in a process of its own, and what is written."""

from __future__ import annotations

import os

# One thread each, set before any numerical library is imported: two threads on a busy core pair were many times slower.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import difflib
import importlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
#: Whether this is a clone, which keeps its results and has a page for them, and not an installed package.
CLONE = (HERE.parent / "pyproject.toml").is_file()
RESULTS = HERE / "results" if CLONE else Path.cwd() / "benchmarks"
DOCS = HERE.parent / "docs"


def names() -> list[str]:
    """All cases."""
    return sorted(path.stem for path in (HERE / "cases").glob("*.py") if not path.stem.startswith("_"))


def main(words: Sequence[str]) -> int:
    """Run cases, each in a process of its own, and write results and table."""
    parser = argparse.ArgumentParser(prog="theodolite bench", description="Ours beside every peer and the machine's floor.")
    parser.add_argument("names", nargs="*", help="cases (default: all)")
    parser.add_argument("--quick", action="store_true", help="small sizes and few repeats; results are printed, not kept")
    parser.add_argument("--list", action="store_true", help="list the cases")
    parser.add_argument(
        "--table", action="store_true", help="only write the documentation's page and figure from the results kept"
    )
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--memory-of", metavar="CONTENDER", help=argparse.SUPPRESS)
    given = parser.parse_args(list(words))
    known = names()
    if given.list:
        print("\n".join(known))
        return 0
    for name in given.names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(known)}"
            print(f"error: unknown benchmark {name!r}; {hint}", file=sys.stderr)
            return 2
    if given.memory_of:
        return memory_of(given.names[0], given.memory_of, given.quick)
    if given.one:
        return one(given.names[0], given.quick)
    code = 0
    for name in () if given.table else given.names or known:
        command = [sys.executable, "-m", "benchmarks", name, "--one", *(["--quick"] if given.quick else [])]
        code |= subprocess.run(command, env={**os.environ, "PYTHONPATH": str(HERE.parent)}, check=False).returncode
    if CLONE and not given.quick:
        write_page()
    return code


def one(name: str, quick: bool) -> int:
    """One case in this process."""
    import torch

    from benchmarks.goals import judge
    from benchmarks.measure import measure, memory_rows
    from benchmarks.table import ours_of, printed

    torch.set_num_threads(1)
    case = importlib.import_module(f"benchmarks.cases.{name}")
    result = measure(case, quick)
    if not quick:
        memory_rows(name, result, quick)
    result["goals"] = judge(case, result)
    print("\n".join(printed(result)), f" [{name}]", flush=True)
    if not quick:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0 if ours_of(result) is not None or "skipped" in result else 1


def memory_of(name: str, contender: str, quick: bool) -> int:
    """Peak memory of one call of one contender, alone in this process, printed as JSON."""
    import torch

    from benchmarks.memory import peak_of

    torch.set_num_threads(1)
    call = importlib.import_module(f"benchmarks.cases.{name}").contenders(quick)[contender]
    print(json.dumps(peak_of(call)[1] or {}))
    return 0


def write_page() -> None:
    """The page and the figure of the documentation, from all results kept."""
    from benchmarks.goals import judge
    from benchmarks.scaling import draw
    from benchmarks.table import load, page

    known = names()
    results = [result for result in load(RESULTS) if result["case"] in known]
    for result in results:
        case = importlib.import_module(f"benchmarks.cases.{result['case']}")
        result |= {"goals": judge(case, result), "note": getattr(case, "NOTE", None)}
    (DOCS / "images").mkdir(parents=True, exist_ok=True)
    (DOCS / "benchmarks.md").write_text(page(results), encoding="utf-8")
    curves = [row for result in results for row in result.get("scaling", ())]
    if curves:
        draw(curves, DOCS / "images" / "scaling.png")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
