"""What a name means: quantities, experiments and claims, from their own documentation and papers."""

from __future__ import annotations

import dataclasses
import inspect

from theodolite.core.errors import unknown
from theodolite.core.reference import described
from theodolite.core.registry import claims, experiments, quantities

__all__ = ["explain"]


def explain(name: str) -> str:
    """The documentation of a quantity, experiment or claim, with its paper.

    Raises:
        UnknownNameError: no such name; the nearest ones are listed.

    Example:
        >>> explain("rank.epsilon_rank").splitlines()[0]
        'rank.epsilon_rank (r_ε), a quantity of each layer'
    """
    if name in (known := quantities()):
        quantity = known[name]
        scope = "each layer" if quantity.level == "layer" else "the network"
        options = ", ".join(f"{k}={v!r}" for k, v in quantity.options.items()) or "none"
        head = f"{name} ({quantity.symbol}), a quantity of {scope}"
        needs = f"Needs: {', '.join(quantity.needs)}. Options: {options}."
        pair = "" if quantity.prediction() is None else f"\nTheory: {name.partition('.')[0]}.predict has its prediction."
        return f"{head}\n\n{inspect.getdoc(quantity.function)}\n\n{needs}{pair}\nPaper: {described(quantity.reference)}"
    if name in (tried := experiments()):
        experiment = tried[name]
        meanings = experiment.meanings()
        fields = "\n".join(
            f"  {f.name} = {f.default!r}: {meanings.get(f.name, '')}".rstrip(": ")
            for f in dataclasses.fields(experiment)  # type: ignore[arg-type]
        )
        about = (inspect.getdoc(experiment) or "").partition("\n\nAttributes:")[0]
        made = "\n".join(f"  {claim.statement} [{claim.reference}]" for claim in claims(name)) or "  none"
        paper = described(experiment.reference) if experiment.reference else "—"
        return f"{name}, an experiment\n\n{about}\n\nSettings:\n{fields}\n\nClaims:\n{made}\n\nPaper: {paper}"
    stated = {claim.name: claim for claim in claims()}
    if name in stated:
        claim = stated[name]
        return f"{name}, a claim about {claim.experiment}\n\n{claim.statement}\n\nPaper: {described(claim.reference)}"
    raise unknown("name", name, [*quantities(), *experiments(), *stated])
