"""ε-rank and the staircase phenomenon: how many of a layer's neurons are linearly independent, and what that bounds."""

from theodolite.theory.rank.accumulate import GramAccumulator
from theodolite.theory.rank.measure import (
    effective_rank,
    epsilon_rank,
    numerical_rank,
    participation_ratio,
    rank_interval,
    seed_epsilon_rank,
    spectrum,
    stable_rank,
)
from theodolite.theory.rank.predict import approximation_bound, loss_lower_bound, submatrix_bound

__all__ = [
    "GramAccumulator",
    "approximation_bound",
    "effective_rank",
    "epsilon_rank",
    "loss_lower_bound",
    "numerical_rank",
    "participation_ratio",
    "rank_interval",
    "seed_epsilon_rank",
    "spectrum",
    "stable_rank",
    "submatrix_bound",
]
