"""One line in somebody else's training script: callbacks for frameworks, a hook for plain loops, and sinks for trackers.

Each is a thin form of `theodolite.track`; its framework is imported only when it is used.
"""

from __future__ import annotations

from typing import Any

from theodolite.core.face import load as _load

#: Public name -> where it lives.
_FACE = {
    # frameworks
    "lightning_callback": ".lightning:lightning_callback",
    "transformers_callback": ".transformers:transformers_callback",
    "step_with": ".loop:step_with",
    # sinks
    "JsonLines": ".sinks:JsonLines",
    "TensorBoard": ".sinks:TensorBoard",
    "WandB": ".sinks:WandB",
    "MLflow": ".sinks:MLflow",
    "Trackio": ".sinks:Trackio",
}

__all__ = sorted(_FACE)


def __getattr__(name: str) -> Any:
    return _load(__name__, name, _FACE)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
