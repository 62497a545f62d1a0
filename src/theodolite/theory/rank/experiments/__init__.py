"""One experiment per figure of the ε-rank papers."""

from theodolite.theory.rank.experiments.digits import Tasks
from theodolite.theory.rank.experiments.fitting import Activations, DeterministicInit, Layers, Staircase
from theodolite.theory.rank.experiments.pruning import Pruning
from theodolite.theory.rank.experiments.resnet import ResnetVsMlp
from theodolite.theory.rank.experiments.theorems import Theorems

__all__ = ["Activations", "DeterministicInit", "Layers", "Pruning", "ResnetVsMlp", "Staircase", "Tasks", "Theorems"]
