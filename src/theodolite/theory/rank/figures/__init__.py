"""Figures of the rank experiments, drawn from their records."""

from theodolite.theory.rank.figures.comparisons import pruning, resnet_vs_mlp, theorems
from theodolite.theory.rank.figures.staircases import activations, deterministic_init, layers, staircase, tasks

__all__ = ["activations", "deterministic_init", "layers", "pruning", "resnet_vs_mlp", "staircase", "tasks", "theorems"]
