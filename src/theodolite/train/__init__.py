"""Training: ensembles of networks, optimisers, losses and schedules.

`Ensemble` trains E networks of one shape at once, with parameters ``[E, …]``; a single run is E = 1.
"""

from theodolite.core.schedule import Schedule, every, log_spaced
from theodolite.train.chunks import side_by_side
from theodolite.train.ensemble import Ensemble
from theodolite.train.initial import (
    NTK,
    UDI,
    Antisymmetric,
    Deterministic,
    Gaussian,
    He,
    Init,
    LeCun,
    MeanField,
    PhaseDiagram,
    TorchDefault,
    Xavier,
)
from theodolite.train.losses import Loss, cross_entropy, exponential, half_mse, logistic, mse
from theodolite.train.optimizers import GD, SGD, Adam, NormalizedGD, Optimizer, TraceGD
from theodolite.train.probes import View
from theodolite.train.spec import MLPSpec

__all__ = [
    # networks
    "Ensemble",
    "MLPSpec",
    "View",
    "side_by_side",
    # initialisations
    "Antisymmetric",
    "Deterministic",
    "Gaussian",
    "He",
    "Init",
    "LeCun",
    "MeanField",
    "NTK",
    "PhaseDiagram",
    "TorchDefault",
    "UDI",
    "Xavier",
    # optimisers
    "Adam",
    "GD",
    "NormalizedGD",
    "Optimizer",
    "SGD",
    "TraceGD",
    # losses
    "Loss",
    "cross_entropy",
    "exponential",
    "half_mse",
    "logistic",
    "mse",
    # schedules
    "Schedule",
    "every",
    "log_spaced",
]
