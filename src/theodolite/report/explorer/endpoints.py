"""What the page can ask for: a name, the parameters allowed, and the function that computes the answer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from theodolite.core.errors import TheodoliteWarning, unknown
from theodolite.report.explorer.parameters import Field, parse
from theodolite.report.explorer.views import condensation, descent, phase, regions, staircase
from theodolite.report.explorer.views.store import StoreView

__all__ = ["Endpoint", "answer", "endpoints"]


@dataclass(frozen=True)
class Endpoint:
    """One kind of question.

    Attributes:
        compute: values of the fields as keywords -> a mapping of plain values and arrays.
        fields: what may be asked.
        lasting: whether the answer depends on the parameters alone, so that it may be kept.
    """

    compute: Callable[..., Mapping[str, Any]]
    fields: Mapping[str, Field]
    lasting: bool = True


def endpoints(store: Any = None) -> dict[str, Endpoint]:
    """All endpoints by name; those of a sweep's store only where one is given.

    Args:
        store: folder or URL of a sweep.

    Raises:
        StoreError: there is no sweep at ``store``.
    """
    found = {
        "phase/plane": Endpoint(phase.plane, phase.PLANE),
        "phase/correlations": Endpoint(phase.correlations, phase.PLANE),
        "phase/point": Endpoint(phase.point, phase.POINT),
        "condensation/plane": Endpoint(condensation.plane, condensation.PLANE),
        "condensation/point": Endpoint(condensation.point, condensation.POINT),
        "staircase/run": Endpoint(staircase.run, staircase.RUN),
        "regions/network": Endpoint(regions.network, regions.NETWORK),
        "descent/curve": Endpoint(descent.curve, descent.CURVE),
    }
    if store is not None:
        view = StoreView(store)
        found["store/summary"] = Endpoint(view.summary, {}, lasting=False)
        found["store/slice"] = Endpoint(view.slice, view.fields(), lasting=False)
    return found


def answer(known: Mapping[str, Endpoint], name: str, query: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The answer of endpoint ``name``, with the warnings of its computation as ``notes``.

    Raises:
        UnknownNameError: no such endpoint, parameter or choice.
        TheodoliteError: a parameter out of bounds, or what the computation raises.
    """
    if name not in known:
        raise unknown("endpoint", name[:60], known)
    values = parse(known[name].fields, query)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", TheodoliteWarning)
        result = dict(known[name].compute(**values))
    notes = [str(w.message) for w in caught if issubclass(w.category, TheodoliteWarning)]
    return {**result, "notes": [*result.get("notes", ()), *dict.fromkeys(notes)]}
