"""The experiments on differential equations."""

from theodolite.theory.pde.experiments.networks import PinnInitialization, PinnRank
from theodolite.theory.pde.experiments.randomfeatures import Convergence, HelmholtzTable, RfmFit, RfmVsElm

__all__ = ["Convergence", "HelmholtzTable", "PinnInitialization", "PinnRank", "RfmFit", "RfmVsElm"]
