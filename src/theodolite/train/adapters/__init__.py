"""One line in somebody else's training script: callbacks for frameworks, a hook for plain loops, and sinks for trackers.

Each is a thin form of `theodolite.track`; its framework is imported only when it is used.
"""

from __future__ import annotations

import importlib
from typing import Any

#: Public name -> module of this package.
_FACE = {
    # frameworks
    "lightning_callback": "lightning",
    "transformers_callback": "transformers",
    "step_with": "loop",
    # sinks
    "JsonLines": "sinks",
    "TensorBoard": "sinks",
    "WandB": "sinks",
    "MLflow": "sinks",
    "Trackio": "sinks",
}

__all__ = sorted(_FACE)


def __getattr__(name: str) -> Any:
    if name not in _FACE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has: {', '.join(__all__)}")
    value = getattr(importlib.import_module(f"{__name__}.{_FACE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
