"""Faces of packages whose names load on first use."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["load"]


def load(package: str, name: str, face: Mapping[str, str]) -> Any:
    """What a package calls ``name``, kept there from now on: the body of its ``__getattr__``.

    Args:
        package: its ``__name__``; its ``__all__`` is told to who asks for another name.
        name: what is asked for.
        face: public name -> ``module`` or ``module:attribute``; a leading dot is the package itself.

    Raises:
        AttributeError: a name that ``face`` does not hold.

    Example:
        >>> load("theodolite", "cite", {"cite": ".core.reference:cite"}).__module__
        'theodolite.core.reference'
    """
    owner = sys.modules[package]
    if name not in face:
        raise AttributeError(f"module {package!r} has no attribute {name!r}; it has: {', '.join(owner.__all__)}")
    module, _, attribute = face[name].partition(":")
    value: Any = importlib.import_module(module, package)
    if attribute:
        value = getattr(value, attribute)
    setattr(owner, name, value)
    return value
