"""What the theory lets one build: the linearised model and kernel regression with a network's kernel."""

from theodolite.theory.tangent.construct.linearized import LinearizedModel, linearize

__all__ = ["LinearizedModel", "linearize"]
