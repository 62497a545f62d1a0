"""The reference: one page per public face, with a table of its names and the documentation of each."""

from __future__ import annotations

import importlib
import inspect
import itertools
import pkgutil
import re
import sys
import textwrap
import types
from collections.abc import Mapping
from pathlib import Path

from pages.chapters import ordered_topics
from pages.text import plain_to_rst, put

__all__ = ["faces", "page", "write"]

#: Packages that are no names of the face, but whose names users meet.
BESIDES = {name: name for name in ("theodolite.lab", "theodolite.lens")}


def faces() -> Mapping[str, str]:
    """Name as a reader writes it -> module, for every page; also lets documentation import them under that name."""
    import theodolite

    modules = {name: where for name, where in theodolite._FACE.items() if ":" not in where and name != "maths"}
    ordered = [*(t for t in ordered_topics() if t in modules), *(name for name in modules if name not in ordered_topics())]
    found = {"td": "theodolite"} | {f"td.{name}": modules[name] for name in ordered} | BESIDES
    for part in pkgutil.iter_modules(theodolite.maths.__path__):
        found[f"td.maths.{part.name}"] = f"theodolite.maths.{part.name}"
    found |= {f"theodolite.core.{name}": f"theodolite.core.{name}" for name in ("claim", "measurement", "needs", "schedule")}
    found["theodolite.report.report"] = "theodolite.report.report"
    for shown, module in found.items():
        sys.modules.setdefault(shown, importlib.import_module(module))
    sys.modules.setdefault("td.maths", theodolite.maths)
    return found


def public_names(module: types.ModuleType) -> list[str]:
    """What the module's face lists, in the face's own order."""
    if module.__name__ == "theodolite":
        return [name for name in module._FACE if not isinstance(getattr(module, name), types.ModuleType)]
    names: list[str] = list(module.__all__)
    return names


def page(shown: str, module: types.ModuleType, told: set[type]) -> str:
    """One face as reStructuredText: first paragraph of its documentation, a table of names, then each name in full.

    Classes in ``told`` have been described on another page; those described here are added to it.
    """
    about = (inspect.getdoc(module) or "").replace("::\n", ":\n").split("\n\n")[0]
    heading = f"``{shown}``"
    names = public_names(module)
    parts = [
        heading + "\n" + "=" * len(heading),
        "\n".join(plain_to_rst(line) for line in about.splitlines()),
        f".. py:currentmodule:: {shown}",
        ".. autosummary::\n   :nosignatures:\n\n"
        + "\n".join(f"   {name}" for name in names if _has_own_words(getattr(module, name))),
    ]
    parts += filter(None, (_entry(shown, name, getattr(module, name), told) for name in names))
    return "\n\n".join(parts) + "\n"


def _has_own_words(thing: object) -> bool:
    """Whether a name has documentation of its own: the type of a constant or an alias says nothing of it."""
    return isinstance(thing, type) or inspect.isroutine(thing)


def _entry(shown: str, name: str, thing: object, told: set[type]) -> str:
    where = f"{shown}::{name}"
    if isinstance(thing, type):
        if thing in told:
            return ""
        told.add(thing)
        return f".. autoclass:: {where}\n   :members:"
    if inspect.isroutine(thing):
        return f".. autofunction:: {where}"
    about = textwrap.indent("\n".join(plain_to_rst(line) for line in _comment(name, thing)), "   ")
    return f".. py:data:: {name}\n\n{about}".rstrip()


def _comment(name: str, thing: object) -> list[str]:
    """The ``#:`` comment above the assignment that made a value, in whichever of our modules it stands."""
    for place, module in sorted(sys.modules.items()):
        if place.startswith("theodolite") and vars(module).get(name) is thing:
            lines = inspect.getsource(module).splitlines()
            made = next((k for k, line in enumerate(lines) if re.match(rf"{name}\b[^(]*=", line)), 0)
            above = itertools.takewhile(lambda line: line.startswith("#:"), reversed(lines[:made]))
            if found := [line.removeprefix("#:").strip() for line in above]:
                return found[::-1]
    return []


def _maths(names: list[str]) -> str:
    """The page that lists the modules of numerics, each with the first sentence of its documentation."""
    rows = [
        f"   * - :doc:`{name}`\n     - {plain_to_rst((inspect.getdoc(sys.modules[name]) or '').splitlines()[0])}"
        for name in names
    ]
    about = (inspect.getdoc(sys.modules["td.maths"]) or "").partition("\n\n")[0]
    parts = ["``td.maths``\n============", about, ".. list-table::\n\n" + "\n".join(rows)]
    return "\n\n".join([*parts, ".. toctree::\n   :hidden:\n\n" + "\n".join(f"   {name}" for name in names)]) + "\n"


def write(target: Path) -> None:
    """Write all pages and their list."""
    found = faces()
    told: set[type] = set()
    for shown in found:
        put(target / "reference" / f"{shown}.rst", page(shown, sys.modules[shown], told))
    besides_topics = {
        n for n in found if n.startswith("td.") and n.count(".") == 1 and n.partition(".")[2] not in ordered_topics()
    }
    groups = {
        "The face": ["td"],
        "Topics": [f"td.{topic}" for topic in ordered_topics() if f"td.{topic}" in found],
        "Training, networks, data, figures, sweeps": [n for n in found if n in BESIDES or n in besides_topics],
        "Numerics": ["td.maths"],
        "Results and what they are made of": [n for n in found if n.startswith(("theodolite.core", "theodolite.report"))],
    }
    put(target / "reference" / "td.maths.rst", _maths([name for name in found if name.startswith("td.maths.")]))
    lines = ["Reference", "=========", "", "``import theodolite as td``; everything below loads when it is first used."]
    for caption, names in groups.items():
        lines += ["", ".. toctree::", f"   :caption: {caption}", "   :maxdepth: 1", "", *(f"   {name}" for name in names)]
    put(target / "reference" / "index.rst", "\n".join(lines) + "\n")
