"""The theorems themselves, on random instances."""

from __future__ import annotations

import xarray as xr

from theodolite.core.claim import Verdict, claim, fails, holds

__all__ = ["approximation_theorem", "loss_bound_theorem", "pruning_identity", "submatrix_lemma"]

#: Relative slack for rounding in float64.
SLACK = 1e-9


@claim(
    "rank.theorems",
    statement="Any n × k matrix with orthonormal columns has k rows with least singular value ≥ 1/√(1 + k(n − k)).",
    reference="yang2024 Lemma 3.1",
    tolerance="1e-9 relative",
)
def submatrix_lemma(data: xr.Dataset) -> Verdict:
    """Least ratio over all trials."""
    least = float(data["lemma"].min())
    evidence = f"over {data.sizes['trial']} random matrices the best subset exceeds the bound by a factor of at least {least:.3f}"
    return holds(evidence) if least >= 1 - SLACK else fails(evidence)


@claim(
    "rank.theorems",
    statement="p of n neurons approximate the network to within √(ε(1 + p(n − p)))‖β‖ when its ε-rank is p.",
    reference="yang2024 Thm 3.2",
    tolerance="1e-9 relative",
)
def approximation_theorem(data: xr.Dataset) -> Verdict:
    """Greatest ratio over all trials."""
    greatest = float(data["approximation"].max())
    evidence = f"over {data.sizes['trial']} random instances the best subset's error is at most {greatest:.2f} of the bound"
    return holds(evidence) if greatest <= 1 + SLACK else fails(evidence)


@claim(
    "rank.theorems",
    statement="The loss is at least [‖(I − P_p)u*‖ − √λ_{p+1} B]₊² for every network with ‖β‖ ≤ B on the same features.",
    reference="yang2024 Thm 3.3",
    tolerance="1e-9 relative",
)
def loss_bound_theorem(data: xr.Dataset) -> Verdict:
    """Greatest ratio of bound to loss."""
    greatest = float(data["loss_bound"].max())
    evidence = f"over {data.sizes['trial']} random instances the bound is at most {greatest:.3f} of the loss"
    return holds(evidence) if greatest <= 1 + SLACK else fails(evidence)


@claim(
    "rank.theorems",
    statement="Interpolative pruning changes the output by exactly ‖R22 B_J‖, the least-squares optimum for the neurons kept.",
    reference="gu1996",
    tolerance="1e-9 relative to the output",
)
def pruning_identity(data: xr.Dataset) -> Verdict:
    """Greatest difference, and greatest ratio to least squares."""
    gap, ratio = float(data["identity"].max()), float(data["optimal"].max())
    evidence = f"greatest difference {gap:.1e} relative to the output; error over least squares at most {ratio:.9f}"
    return holds(evidence) if gap <= SLACK and ratio <= 1 + 1e-6 else fails(evidence)
