"""What the theory of tangent kernels says, numbers to numbers."""

from theodolite.theory.tangent.predict.dynamics import Dynamics, critical_learning_rate, training_dynamics
from theodolite.theory.tangent.predict.recursion import Recursion

__all__ = ["Dynamics", "Recursion", "critical_learning_rate", "training_dynamics"]
