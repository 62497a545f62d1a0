"""Regions as one ``.npz`` file, the network included, so that they can be read without the model."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from theodolite.core.errors import StoreError
from theodolite.theory.piecewise.cells import Cells
from theodolite.theory.piecewise.domains import Chart, Domain
from theodolite.theory.piecewise.program import Affine, Array, Maximum, Program, Step, Switching
from theodolite.theory.piecewise.regions import Regions

__all__ = ["CELLS", "fingerprint", "load_regions", "pack_problem", "save_regions", "unpack_problem"]

_FORMAT = 2
#: The arrays of a batch of cells.
CELLS = ("points", "starts", "facets", "labels", "facet_starts", "masks")
_REGIONS = ("charts", "bits", "maps", "witnesses")
_CHART = ("start", "vertices")


def pack_problem(
    program: Program, domain: Domain | None, certify: str, complete: bool = True
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Network, domain and settings as plain JSON and arrays."""
    arrays: dict[str, Array] = {}
    header: dict[str, Any] = {"format": _FORMAT, "complete": complete, "certify": certify, "domain": None}
    if domain is not None:
        boxes = [c.is_box for c in domain.charts]
        header["domain"] = {"kind": domain.kind, "input_shape": domain.input_shape, "is_box": boxes}
        for k, chart in enumerate(domain.charts):
            arrays |= {f"chart{k}.{n}": getattr(chart, n) for n in _CHART}
    header["program"] = {"input_shape": program.input_shape, "output_shape": program.output_shape, "steps": []}
    for k, step in enumerate(program.steps):
        header["program"]["steps"].append(_pack_step(step, f"step{k}", arrays))
    return header, arrays


def unpack_problem(header: dict[str, Any], arrays: Any) -> tuple[Program, Domain | None, str, bool]:
    """Inverse of `pack_problem`."""
    about = header["program"]
    steps = tuple(_unpack_step(s, f"step{k}", arrays) for k, s in enumerate(about["steps"]))
    program = Program(steps, tuple(about["input_shape"]), tuple(about["output_shape"]))
    domain = None
    if header["domain"] is not None:
        boxes = header["domain"]["is_box"]
        charts = tuple(Chart(**{n: arrays[f"chart{k}.{n}"] for n in _CHART}, is_box=box) for k, box in enumerate(boxes))
        domain = Domain(header["domain"]["kind"], charts, tuple(header["domain"]["input_shape"]))
    return program, domain, header["certify"], header["complete"]


def fingerprint(arrays: dict[str, Array]) -> str:
    """A hash of named arrays."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def save_regions(regions: Regions, path: Path) -> Path:
    """Write regions to ``path`` (``.npz`` is added when missing), atomically."""
    path = path if path.suffix == ".npz" else path.with_name(path.name + ".npz")
    header, arrays = pack_problem(regions.program, regions.domain, regions.certify, regions.complete)
    header["irredundant"] = regions.irredundant
    arrays |= {f"cells.{n}": getattr(regions.cells, n) for n in CELLS}
    arrays |= {n: getattr(regions, n) for n in _REGIONS}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.partial.npz")
    try:
        with open(draft, "wb") as file:
            np.savez_compressed(file, header=np.array(json.dumps(header)), **arrays)  # type: ignore[arg-type]
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StoreError(f"the regions could not be written to {path}: {error}; free space or choose another place") from error
    return path


def _pack_step(step: Step, prefix: str, arrays: dict[str, Array]) -> dict[str, Any]:
    if isinstance(step, Affine):
        kinds = []
        arrays[f"{prefix}.bias"] = step.bias
        for k, weight in enumerate(step.weights):
            if weight is None:
                kinds.append("identity")
            elif isinstance(weight, np.ndarray):
                kinds.append("dense")
                arrays[f"{prefix}.weight{k}"] = weight
            else:
                kinds.append(f"csr {weight.shape[0]} {weight.shape[1]}")
                for part in ("data", "indices", "indptr"):
                    arrays[f"{prefix}.weight{k}.{part}"] = getattr(weight, part)
        return {"kind": "affine", "sources": step.sources, "weights": kinds, "name": step.name}
    if isinstance(step, Switching):
        arrays |= {f"{prefix}.{n}": getattr(step, n) for n in ("knots", "slopes", "offsets")}
        return {"kind": "switching", "source": step.source, "name": step.name}
    arrays[f"{prefix}.groups"] = step.groups
    return {"kind": "maximum", "source": step.source, "name": step.name}


def _unpack_step(about: dict[str, Any], prefix: str, arrays: Any) -> Step:
    if about["kind"] == "affine":
        from scipy import sparse

        weights: list[Any] = []
        for k, kind in enumerate(about["weights"]):
            if kind == "identity":
                weights.append(None)
            elif kind == "dense":
                weights.append(arrays[f"{prefix}.weight{k}"])
            else:
                parts = tuple(arrays[f"{prefix}.weight{k}.{p}"] for p in ("data", "indices", "indptr"))
                weights.append(sparse.csr_matrix(parts, shape=tuple(map(int, kind.split()[1:]))))
        return Affine(tuple(about["sources"]), tuple(weights), arrays[f"{prefix}.bias"], about["name"])
    if about["kind"] == "switching":
        knots, slopes, offsets = (arrays[f"{prefix}.{n}"] for n in ("knots", "slopes", "offsets"))
        return Switching(about["source"], knots, slopes, offsets, about["name"])
    return Maximum(about["source"], arrays[f"{prefix}.groups"], about["name"])


def load_regions(path: Path) -> Regions:
    """Read regions written by `save_regions`.

    Raises:
        StoreError: there is no such file, or it holds something else.
    """
    path = path if path.suffix == ".npz" else path.with_name(path.name + ".npz")
    try:
        arrays = np.load(path, allow_pickle=False)
        header = json.loads(str(arrays["header"]))
        if header.get("format") != _FORMAT:
            raise StoreError(f"{path} has format {header.get('format')!r}, this version reads {_FORMAT}; enumerate again")
        program, domain, certify, complete = unpack_problem(header, arrays)
        cells = Cells(*(arrays[f"cells.{n}"] for n in CELLS))
        rest = {n: arrays[n] for n in _REGIONS}
    except (OSError, KeyError, ValueError, IndexError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise StoreError(f"{path} does not hold regions: {error}; they are written by Regions.save") from error
    known = header.get("irredundant", False)
    return Regions(program, domain, cells, **rest, complete=complete, certify=certify, irredundant=known)
