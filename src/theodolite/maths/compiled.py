"""How functions are compiled here: those that Python calls, and those that only compiled code calls.

numba compiles every function on its own, once per combination of argument types, with wrappers for calls from Python and from C.
What only compiled code calls goes without, which takes a third off the first call of all.
"""

from __future__ import annotations

from typing import Any

import numba

__all__ = ["compiled", "inlined", "inner", "summed"]

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
_UNWRAPPED: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

#: For functions that Python calls. Typed as Any: the checker knows no compiled call with unpacked arguments.
compiled: Any = numba.njit(**_OPTIONS)

#: For functions that only compiled code calls. A call from Python would crash: it has no wrapper to take it.
inner: Any = numba.njit(**_OPTIONS, **_UNWRAPPED)

#: The same for small ones in loops, which are put in place of their calls.
inlined: Any = numba.njit(**_OPTIONS, forceinline=True, **_UNWRAPPED)

#: The same for sums that may be taken in any order, several terms at a time.
summed: Any = numba.njit(**_OPTIONS, fastmath={"reassoc", "contract"}, **_UNWRAPPED)
