"""Experiments on tangent kernels: one frozen dataclass per question."""

from theodolite.theory.tangent.experiments.convergence import ConditionNumberVsWidth, ExponentialConvergence, PlCondition
from theodolite.theory.tangent.experiments.curvature import HessianScaling, SolutionManifold
from theodolite.theory.tangent.experiments.regression import FeatureMap, InfiniteVsFinite, KernelPrior
from theodolite.theory.tangent.experiments.width import Concentration, Constancy, LazyTraining, LinearizedTraining

__all__ = [
    "Concentration",
    "ConditionNumberVsWidth",
    "Constancy",
    "ExponentialConvergence",
    "FeatureMap",
    "HessianScaling",
    "InfiniteVsFinite",
    "KernelPrior",
    "LazyTraining",
    "LinearizedTraining",
    "PlCondition",
    "SolutionManifold",
]
