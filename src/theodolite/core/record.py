"""Records: the tidy, labelled results of one experiment, with what is needed to repeat it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.core.claim import Claim, Verdict, undecided
from theodolite.core.errors import StoreError, UnknownNameError

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

__all__ = ["Record", "Verification", "check_replaceable", "provenance"]


def provenance(**more: Any) -> dict[str, Any]:
    """Versions of what computed a record, and anything in ``more``."""
    from importlib.metadata import version

    packages = ("theodolite", "torch", "numpy", "scipy", "numba")
    return {"versions": {p: version(p) for p in packages}, "python": platform.python_version(), **more}


class Verification(list[tuple[Claim, Verdict]]):
    """The verdicts of all claims on one record; prints as a table."""

    def __str__(self) -> str:
        lines = []
        for claim, verdict in self:
            lines.append(f"{verdict.word:>11}  {claim.statement} [{claim.reference}]")
            if verdict.condition:
                lines.append(f"{'':>11}  only if {verdict.condition}")
            lines.append(f"{'':>11}  {verdict.evidence}")
        return "\n".join(lines) or "no claims are made about this experiment"


@dataclass(frozen=True)
class Record:
    """Results of one experiment.

    Attributes:
        name: the experiment's name.
        settings: its settings, as plain JSON values.
        data: an xarray Dataset with labelled dimensions; units and descriptions stand in the variables' attributes.
        provenance: versions and wall time.
    """

    name: str
    settings: Mapping[str, Any]
    data: xr.Dataset
    provenance: Mapping[str, Any]

    def verify(self) -> Verification:
        """The verdict of every claim about this experiment; a claim whose check breaks down is undecided, with the error."""
        from theodolite.core.registry import claims

        found = Verification()
        for claim in claims(self.name):
            try:
                verdict = claim.check(self.data)
            except (KeyError, IndexError, ValueError, ArithmeticError) as error:
                verdict = undecided(f"the check could not be carried out on this record: {type(error).__name__}: {error}")
            found.append((claim, verdict))
        return found

    def figure(self, **options: Any) -> Figure:
        """The experiment's figure, drawn from the record alone.

        Raises:
            UnknownNameError: the topic has no figure of the experiment's name.
        """
        from theodolite.core.registry import experiments, sibling

        module = experiments()[self.name].__module__
        draw = getattr(sibling(module, "figures"), self.name.partition(".")[2], None)
        if draw is None:
            raise UnknownNameError(f"no figure is defined for the experiment {self.name!r}")
        figure: Figure = draw(self, **options)
        return figure

    def save(self, path: str | Path) -> Path:
        """Write the record to the folder ``path`` (zarr v3), atomically: it is there whole or not at all."""
        path = Path(path)
        check_replaceable(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        former = path.with_name(f".{path.name}.{uuid.uuid4().hex}.former")
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
        attributes = {
            "theodolite_record": json.dumps(
                {"name": self.name, "settings": dict(self.settings), "provenance": dict(self.provenance)}
            )
        }
        try:
            _storable(self.data).assign_attrs({**self.data.attrs, **attributes}).to_zarr(draft, zarr_format=3, consolidated=False)
            if path.exists():
                os.replace(path, former)  # kept until the new one stands
            os.replace(draft, path)
        except OSError as error:
            raise StoreError(
                f"the record could not be written to {path}: {error}; free space or choose another folder"
            ) from error
        finally:
            if former.exists() and not path.exists():
                os.replace(former, path)
            shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Record:
        """Read a record written by `save`.

        Raises:
            StoreError: there is no record at ``path``.
        """
        import xarray as xr

        path = Path(path)
        if not (path / "zarr.json").is_file():
            raise StoreError(f"no record at {path}: the folder holds no zarr.json; records are written by Record.save")
        data = xr.open_zarr(path, consolidated=False).load()
        try:
            header = json.loads(data.attrs.pop("theodolite_record"))
        except KeyError as error:
            raise StoreError(f"{path} is a zarr store, but not a record: its header is missing") from error
        return cls(header["name"], header["settings"], data, header["provenance"])

    def _repr_html_(self) -> str:
        html: str = self.data._repr_html_()
        return f"<b>{self.name}</b>{html}"


def check_replaceable(path: Path) -> None:
    """Raise `StoreError` when a record at ``path`` would overwrite something else than a record."""
    if path.is_file() or (path.is_dir() and not (path / "zarr.json").is_file() and any(path.iterdir())):
        raise StoreError(f"{path} exists and is not a record; it is left as it is: choose a new or empty folder for the record")


def _storable(data: xr.Dataset) -> xr.Dataset:
    """The data with fixed-width strings as objects: zarr v3 specifies only variable-length strings."""
    texts = [name for name, variable in data.variables.items() if variable.dtype.kind == "U"]
    return data.assign_coords({n: data[n].astype(object) for n in texts if n in data.coords}).assign(
        {n: data[n].astype(object) for n in texts if n not in data.coords}
    )
