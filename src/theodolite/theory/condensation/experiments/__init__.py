"""The experiments of the condensation papers, one frozen dataclass each."""

from theodolite.theory.condensation.experiments.initial import Initial
from theodolite.theory.condensation.experiments.layerwise import LayerwisePhase
from theodolite.theory.condensation.experiments.phase import PhaseDiagram
from theodolite.theory.condensation.experiments.real_data import RealData
from theodolite.theory.condensation.experiments.regimes import Regimes
from theodolite.theory.condensation.experiments.task import MultiplicityTask
from theodolite.theory.condensation.experiments.two_layer import TwoLayerTraining

__all__ = ["Initial", "LayerwisePhase", "MultiplicityTask", "PhaseDiagram", "RealData", "Regimes", "TwoLayerTraining"]
