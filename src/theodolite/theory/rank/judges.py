"""What ranks of features mean for a layer."""

from __future__ import annotations

from theodolite.core.measurement import Judgement, Observation

__all__ = ["judge_epsilon_rank", "judge_numerical_rank", "judge_stable_rank"]

#: Share of the trace from which on one eigenvalue counts as all there is.
ONE_DIRECTION = 0.9


def judge_epsilon_rank(seen: Observation) -> Judgement:
    """Redundant neurons, or neurons that are nearly all alike."""
    width, r = seen.facts["width"], round(seen.value)
    at = f"ε = {seen.facts['eps']:g}" if "eps" in seen.facts else "ε"
    redundant = 1 - r / width
    if r <= max(1, width // 16):
        few = f"only {r} of {width} neurons are linearly independent at {at}"
        return Judgement("collapsed", f"{few}; use rank.uniform_density_init_ or a larger weight scale", "bad", redundant)
    if r < width:
        advice = f"{width - r} of {width} neurons are redundant at {at}; rank.prune removes them with an error certificate"
        return Judgement("redundant", advice, "note", redundant)
    return Judgement("full", "", "good")


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
