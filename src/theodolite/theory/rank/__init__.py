"""ε-rank and the staircase phenomenon: how many of a layer's neurons are linearly independent, and what that bounds."""

from theodolite.nets.init import deterministic_init_, uniform_density_init_
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
from theodolite.theory.rank.prune import PruningCertificate, prune

__all__ = [
    "GramAccumulator",
    "PruningCertificate",
    "approximation_bound",
    "deterministic_init_",
    "effective_rank",
    "epsilon_rank",
    "loss_lower_bound",
    "numerical_rank",
    "participation_ratio",
    "prune",
    "rank_interval",
    "seed_epsilon_rank",
    "spectrum",
    "stable_rank",
    "submatrix_bound",
    "uniform_density_init_",
]
