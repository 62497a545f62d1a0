"""How functions are compiled here: those that Python calls, and those that only compiled code calls.

numba compiles every function on its own, once per combination of argument types, with wrappers for calls from Python and from C.
What only compiled code calls goes without, which takes a third off the first call of all.

numba keeps machine code on disk and makes it anew when the function's own file changes. It holds the functions of other files that
are called, too, and their constants: here those files count as well, so that a new version never runs code of an old one.
"""

from __future__ import annotations

import functools
import hashlib
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

__all__ = ["compiled", "inlined", "inner", "relaxed"]

#: Seconds of compilation that pass in silence.
PATIENCE = 1.0

_UNWRAPPED: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def _decorator(**options: Any) -> Any:
    """numba's decorator with machine code on disk. Typed as Any: the checker knows no compiled call with unpacked arguments."""
    compile_ = numba.njit(cache=True, nogil=True, error_model="numpy", **options)

    def decorate(function: Callable[..., Any]) -> Any:
        found = compile_(function)
        if hasattr(found, "_cache"):  # NUMBA_DISABLE_JIT leaves the function as it is
            found._cache._cache_file._source_stamp = _digest(function.__module__)
            found._compiler.compile = _announced(found._compiler.compile)
        return found

    return decorate


#: When the function that is being compiled was begun, with those that it calls, and whether that has been said.
_now: dict[str, Any] = {"since": None, "said": False}


def _announced(compile_: Callable[..., Any]) -> Callable[..., Any]:
    """numba's compilation of a function not on disk yet, which says so on a terminal once it has taken a second."""

    @functools.wraps(compile_)
    def compile_and_say(*args: Any) -> Any:
        outermost = _now["since"] is None
        if outermost:
            _now["since"] = time.monotonic()
        elif not _now["said"] and time.monotonic() - _now["since"] > PATIENCE and sys.stderr.isatty():
            _now["said"] = True
            print("theodolite compiles its loops, once per installation: up to half a minute", file=sys.stderr, flush=True)
        try:
            return compile_(*args)
        finally:
            if outermost:
                _now["since"] = None

    return compile_and_say


@functools.cache
def _digest(module: str) -> str:
    """Of the source of a module, of what it imports from this package, and so on along modules of compiled functions."""
    source = Path(str(sys.modules[module].__file__)).read_bytes()
    found = hashlib.blake2b(source, digest_size=16)
    for name in re.findall(rb"^from (theodolite\.[\w.]+) import", source, re.MULTILINE):
        imported = Path(str(sys.modules[name.decode()].__file__)).read_bytes()
        compiles = b"from theodolite.maths.compiled import" in imported
        found.update(_digest(name.decode()).encode() if compiles else imported)
    return found.hexdigest()


#: For functions that Python calls.
compiled: Any = _decorator()

#: The same for loops that take several numbers at a time, with products and sums fused.
relaxed: Any = _decorator(fastmath={"contract", "nsz", "arcp"})

#: For functions that only compiled code calls. A call from Python would crash: it has no wrapper to take it.
inner: Any = _decorator(**_UNWRAPPED)

#: The same for small ones in loops, which are put in place of their calls.
inlined: Any = _decorator(forceinline=True, **_UNWRAPPED)
