"""``theodolite sweep plan|run|status|failed|load|export``: sweeps from a YAML file.

::

    experiment: meanfield.phase_diagram      # a registered name, or package.module:Class
    over:                                    # axis: list of values, or a rule
      sigma_b2: [0.0, 0.05, 0.1]
      gamma: {linspace: [0.5, 2.0, 21]}      # also geomspace, logspace, range
    fixed: {depth: 50}                       # optional
    store: runs/phase                        # folder or fsspec URL; relative to where the command is run
    tile: auto                               # optional
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from theodolite.core.errors import ArgumentError, unknown

if TYPE_CHECKING:
    from theodolite.lab import Sweep

__all__ = ["COMMANDS", "export", "failed", "load", "main", "plan", "read_sweep", "run", "status"]

KEYS = ("experiment", "over", "store", "fixed", "tile")

#: A spec file, or a store that a sweep was begun in.
Spec = Annotated[str, tyro.conf.Positional]


def read_sweep(spec: str | Path) -> Sweep:
    """The sweep of a YAML file, or of a folder or URL that holds one.

    Args:
        spec: path of a file with the keys ``experiment``, ``over``, ``store`` and, optionally, ``fixed`` and ``tile``; or a store.

    Raises:
        ArgumentError: no such file, no YAML mapping, or a key that is missing.
        UnknownNameError: a key, an experiment or a setting that does not exist.
    """
    from theodolite.lab import Sweep
    from theodolite.lab.spec import unfold

    # Experiments of one's own are found from the folder where the command is run, as with `python -m`; workers inherit the path.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    if "://" in str(spec) or Path(spec).is_dir():
        return Sweep.open(spec)
    content = _parse(Path(spec))
    fixed = content.get("fixed") or {}
    if not isinstance(content["over"], dict) or not isinstance(fixed, dict):
        raise ArgumentError(f"{spec}: over and fixed must be mappings of settings to values")
    over = {axis: unfold(values) for axis, values in content["over"].items()}
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in fixed.items()}
    return Sweep(content["experiment"], over, content["store"], content.get("tile", "auto"), **plain)


def _parse(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArgumentError(
            f"the spec {str(path)!r} cannot be read: {error.strerror}; give a YAML file or a sweep's store"
        ) from error
    except yaml.YAMLError as error:
        raise ArgumentError(f"{path} is no valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ArgumentError(f"{path} must be a mapping with the keys {', '.join(KEYS)}, got {type(content).__name__}")
    for key in content:
        if key not in KEYS:
            raise unknown(f"key in {path}", str(key), KEYS)
    for key in KEYS[:3]:
        if key not in content:
            raise ArgumentError(f"{path} lacks the key {key!r}; needed are experiment, over and store")
    return content


def plan(spec: Spec) -> None:
    """Show the number of cells and tiles, and what they will take, from a few timed cells. Writes nothing.

    Args:
        spec: YAML file, or store of a sweep.
    """
    print(read_sweep(spec).plan())


def run(
    spec: Spec,
    workers: int = 1,
    engine: Literal["local", "dask"] = "local",
    address: str | None = None,
    resume: bool = True,
    shard: str | None = None,
    retry_failed: bool = False,
    dry_run: bool = False,
) -> None:
    """Compute the tiles that are missing. Ctrl-C finishes those in flight; run again to resume.

    Args:
        spec: YAML file, or store of a sweep.
        workers: processes; 1 computes in this one.
        engine: here, or on Dask.
        address: for Dask: a scheduler such as tcp://host:8786, or slurm, pbs, lsf with options: "slurm?queue=gpu&memory=16GB".
        resume: with --no-resume all results are deleted first.
        shard: i/N computes every N-th tile from the i-th on, for job arrays: --shard $SLURM_ARRAY_TASK_ID/100.
        retry_failed: compute tiles with failed cells again.
        dry_run: show the plan and stop.
    """
    sweep = read_sweep(spec)
    if dry_run:
        print(sweep.plan())
        return
    try:
        result = sweep.run(workers, engine, address, resume, shard, retry_failed)
    except KeyboardInterrupt as stopped:
        print(str(stopped) or "stopped; run again to resume", file=sys.stderr)
        raise SystemExit(130) from stopped
    print(result)
    if result.failed:
        print(f"theodolite sweep failed {spec}   lists the cells that failed, with reasons")


def status(spec: Spec) -> None:
    """Show how far the sweep has come.

    Args:
        spec: YAML file, or store of a sweep.
    """
    print(read_sweep(spec).status())


def failed(spec: Spec) -> None:
    """List the cells that failed, with the reason of each.

    Args:
        spec: YAML file, or store of a sweep.
    """
    for cell, reason in read_sweep(spec).failed():
        print(", ".join(f"{axis}={value}" for axis, value in cell.items()), reason, sep=": ")


def load(spec: Spec) -> None:
    """Show the results: axes, variables, attributes.

    Args:
        spec: YAML file, or store of a sweep.
    """
    print(read_sweep(spec).load())


def export(spec: Spec, path: Annotated[Path, tyro.conf.Positional]) -> None:
    """Write the results to one file.

    Args:
        spec: YAML file, or store of a sweep.
        path: ends in .nc, .parquet or .csv.
    """
    print(read_sweep(spec).export(path))


#: Word on the command line -> function.
COMMANDS: dict[str, Callable[..., None]] = {
    "plan": plan,
    "run": run,
    "status": status,
    "failed": failed,
    "load": load,
    "export": export,
}


def main(words: Sequence[str]) -> int:
    """Run ``theodolite sweep`` with ``words``; returns the exit code."""
    tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="theodolite sweep", args=list(words))
    return 0
