"""What ranks of features mean for a layer."""

from __future__ import annotations

from typing import Any

from theodolite.core.measurement import Judgement, Observation

__all__ = ["judge_epsilon_rank", "judge_numerical_rank", "judge_stable_rank"]

#: Share of the trace from which on one eigenvalue counts as all there is.
ONE_DIRECTION = 0.9
#: Most inputs of a layer for which transition planes spread over the box of the inputs are of use (zhang2023transnet: up to three).
FEW_INPUTS = 3
#: What `rank.prune` and `meanfield.critical_init_` can set (see `theodolite.lens.role.Role.written_by`).
SETTABLE = ("linear", "convolution")


def judge_epsilon_rank(seen: Observation) -> Judgement:
    """Redundant neurons, or neurons that are nearly all alike; the way out is one that exists for what writes and reads the layer."""
    width, r = seen.facts["width"], round(seen.value)
    entries = seen.facts.get("entries", "neurons")
    at = f"ε = {seen.facts['eps']:g}" if "eps" in seen.facts else "ε"
    redundant = 1 - r / width
    if r <= max(1, width // 16):
        few = f"only {r} of {width} {entries} {'is' if r == 1 else 'are'} linearly independent at {at}"
        return Judgement("collapsed", f"{few}; {_more(seen.facts, r)}", "bad", redundant)
    if r < width:
        advice = (
            f"{width - r} of {width} {entries} {'is' if r == width - 1 else 'are'} redundant at {at}; {_fewer(seen.facts, r)}"
        )
        return Judgement("redundant", advice, "note", redundant)
    return Judgement("full", "", "good")


def _more(facts: dict[str, Any], r: int) -> str:
    """What sets the neurons of a layer apart, by what writes it."""
    writer, norm = facts.get("written_by", ""), facts.get("norm", "")
    if norm:
        return f"{norm} fixes their scale, so that larger weights do not set them apart; {_enough(facts, r)}"
    if writer == "linear" and facts.get("reads_inputs") and facts.get("biased") and facts.get("fan_in", 99) <= FEW_INPUTS:
        return "use rank.uniform_density_init_ or a larger weight scale"
    if writer in SETTABLE:
        return "a larger weight scale sets them apart, such as that of meanfield.critical_init_"
    if writer == "recurrent":
        return f"larger input and recurrent weights set them apart; {_enough(facts, r)}"
    return _enough(facts, r)


def _fewer(facts: dict[str, Any], r: int) -> str:
    """How to do without the redundant neurons: `rank.prune` where it can cut the layer, else a narrower one."""
    readers = set(facts.get("read_by", ()))
    cuttable = facts.get("written_by") in SETTABLE and facts.get("norm", "") in ("", "batch_norm")
    if cuttable and len(readers) == 1 and readers <= set(SETTABLE):
        return "rank.prune removes them with an error certificate"
    return _enough(facts, r)


def _enough(facts: dict[str, Any], r: int) -> str:
    size = "a hidden size" if facts.get("written_by") == "recurrent" else "a width"
    return f"{size} of about {max(r, 1)} holds as much of these data"


def judge_stable_rank(seen: Observation) -> Judgement:
    """Rank collapse: one eigenvalue holds at least 90 % of the trace, so that all features are nearly one vector up to scale."""
    return Judgement("one direction" if seen.value <= 1 / ONE_DIRECTION else "several directions")


def judge_numerical_rank(seen: Observation) -> Judgement:
    """Whether some neurons are combinations of the others to rounding; too few rows for the neurons cannot tell."""
    width, samples, r = seen.facts["width"], seen.facts["samples"], round(seen.value)
    if r >= width:
        return Judgement("full", "", "good")
    # There is a row for each sample, or for each of its positions: a rank that is no multiple of the samples is less than the rows.
    return Judgement("not full" if r > 0 and r % samples == 0 else "dependent")
