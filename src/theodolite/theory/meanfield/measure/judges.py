"""What lengths, correlations and slopes mean for a network: phases, depths that train, and where criticality lies."""

from __future__ import annotations

import functools
import math
from typing import Any

from theodolite.core.errors import TheodoliteError
from theodolite.core.measurement import Judgement, Observation
from theodolite.maths.activation import Activation, identify
from theodolite.theory.meanfield.predict import CriticalPoint, critical_line

__all__ = ["judge_chi_1", "judge_correlation", "judge_q_length"]

#: Networks train up to about this many depth scales 1/|ln χ₁| (schoenholz2017, Sec. 5).
TRAINABLE_SCALES = 6.0
#: |χ₁ − 1| that is never told from criticality.
LEAST_EXCESS = 0.02
#: Lengths outside of which float32 signals are lost.
SMALLEST, LARGEST = 1e-8, 1e8
#: Mean correlations from which on inputs count as close, and as merged.
CLOSE, MERGED = 0.9, 0.999
#: What `critical_init_` can set (see `theodolite.lens.role.Role.written_by`).
SETTABLE = ("linear", "convolution")


def judge_chi_1(seen: Observation) -> Judgement:
    """Phase of a layer: chaotic, ordered, or critical within what can be resolved.

    Where norms, skip connections, gates or attention also act on the gradient, χ₁ of the affine layer alone decides no phase.
    """
    facts = seen.facts
    if not facts.get("plain", False):
        return Judgement("of this layer alone", "", "note")
    if not seen.value > 0:
        return Judgement(
            "no gradient", "χ₁ = 0: no gradient passes this layer; its neurons are dead or saturated", "bad", math.inf
        )
    chi, resolution = _resolved(seen)
    shown = f"χ₁ = {seen.value:.3g}" + ("" if seen.prediction is None else f" (theory {seen.prediction:.3g})")
    if abs(chi - 1) <= resolution:
        return Judgement("critical", f"critical: {shown}, gradients keep their size from layer to layer", "good")
    phase, way = ("chaotic", "grow") if chi > 1 else ("ordered", "shrink")
    reach, depth = TRAINABLE_SCALES / abs(math.log(chi)), facts.get("depth", 1)
    deep = depth > reach
    limit = f"trainable to about {reach:.0f} layers, and it has {depth}" if deep else f"harmless at depth {depth}"
    advice = f"{phase}: {shown}, squared gradients {way} ×{chi:.3g} per layer, {limit}"
    return Judgement(phase, advice + _way_out(seen), "bad" if deep else "note", severity=depth / reach)


def _resolved(seen: Observation) -> tuple[float, float]:
    """χ₁ and how near to 1 it may lie and still be told from 1.

    The measured χ₁ of a layer of n neurons read by K fluctuates by √((1 + 2/K)/n): the neurons' slopes vary together over similar
    inputs. Theory's value from the layer's own variances has only their sampling error √(2/nK); where the two agree, it decides.
    """
    n, k = seen.facts["width"], max(1, seen.facts.get("readers", 1))
    noise, theory = 3 * math.sqrt((1 + 2 / k) / n), seen.prediction
    if theory is not None and abs(seen.value - theory) <= noise * theory:
        return theory, max(LEAST_EXCESS, 3 * theory * math.sqrt(2 / (n * k)))
    return seen.value, max(LEAST_EXCESS, noise)


def _way_out(seen: Observation) -> str:
    """Where criticality lies for the layer's activation and biases, if the layer is as random weights of its variance would be."""
    facts, theory = seen.facts, seen.prediction
    if theory is not None and (theory > 1) != (seen.value > 1):
        return f"; random weights of the same variance would have χ₁ = {theory:.3g}: training has taken the layer elsewhere"
    try:
        activation = identify(facts["activation"])
        point = _critical(activation, float(facts["sigma_b2"]))
    except (TheodoliteError, KeyError):
        return ""  # no such point is known for this activation
    here = facts.get("sigma_w2")
    now = "" if here is None else f" (here {here:.3g})"
    way = f"; critical at σ_w² = {point.sigma_w2:.3g}{now} with σ_b² = {point.sigma_b2:.2g} for {activation.name}"
    return way + (": meanfield.critical_init_ sets it" if set(facts.get("read_by", ())) <= set(SETTABLE) else "")


@functools.lru_cache(maxsize=256)
def _critical(activation: Activation, sigma_b2: float) -> CriticalPoint:
    """The critical point with these biases, or without any where there is none with them (ReLU)."""
    try:
        return critical_line(activation, sigma_b2)
    except TheodoliteError:
        return critical_line(activation, 0.0)


def judge_correlation(seen: Observation) -> Judgement:
    """Whether a layer still tells inputs apart: merged from c ≥ 0.999, close from c ≥ 0.9, apart below.

    The mean of z_a·z_b/(|z_a||z_b|) over the pairs is, but for 1/N, the squared length of the mean of the unit vectors: the share c of
    every signal is common to all inputs, and only the share 1 − c tells them apart. At 0.9 the common direction holds 90 % of the trace
    of the directions' Gram matrix, as in `rank.stable_rank`; at 0.999 what is left has an amplitude of √0.001, 3 % of the signal's.
    """
    c, apart = seen.value, max(1 - seen.value, 0.0)
    if c < CLOSE:
        return Judgement("inputs stay apart", "", "good")
    them = "inputs and their positions" if seen.facts.get("positions") else "inputs"
    if c >= MERGED:
        advice = (
            f"different {them} look alike here (correlation 1 − {apart:.1e}): what tells them apart is lost to the layers "
            f"behind; {_apart(seen.facts)}"
        )
        return Judgement("inputs merge", advice, "bad", severity=-math.log10(max(apart, 1e-16)))
    advice = (
        f"{c:.2%} of the squared signal is common to all {them} and {apart:.2%} tells them apart (close from {CLOSE:.0%}, merged from "
        f"{MERGED:.1%}); {_apart(seen.facts)}"
    )
    return Judgement("inputs close", advice, "note", severity=-math.log10(apart))


def _apart(facts: dict[str, Any]) -> str:
    """What keeps inputs apart, by where the layer stands and what writes it."""
    if facts.get("reads_inputs"):
        return "the data are alike themselves: centre them"
    if facts.get("written_by") in SETTABLE:
        return "centre the data, or start nearer to criticality with meanfield.critical_init_"
    return "centre the data"


def judge_q_length(seen: Observation) -> Judgement:
    """Signals that vanish or explode."""
    q = seen.value
    if SMALLEST < q < LARGEST:
        return Judgement("", "", "note")
    verdict = "signal vanishes" if q <= SMALLEST else "signal explodes"
    advice = f"{verdict}: squared pre-activations are {q:.1e} per {_entry(seen.facts)}; {_rescale(seen.facts)}"
    return Judgement(verdict, advice, "bad", severity=abs(math.log10(q)) if q > 0 else math.inf)


def _entry(facts: dict[str, Any]) -> str:
    return str(facts.get("entries", "neurons"))[:-1]


def _rescale(facts: dict[str, Any]) -> str:
    """What sets the length of a layer's signal."""
    writer, norm = facts.get("written_by", ""), facts.get("norm", "")
    if norm:
        return f"rescale the weight of the {norm} before it"
    if writer in SETTABLE:
        return "rescale the weights with meanfield.critical_init_"
    if writer == "add":
        return "scale the branches that it sums; meanfield.critical_init_ does so for residual ones"
    return "rescale the weights of the " + (
        f"{writer} before it" if writer in ("embedding", "attention") else "operations before it"
    )
