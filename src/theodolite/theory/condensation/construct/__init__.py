"""What condensation lets one build: smaller networks with merged neurons."""

from theodolite.theory.condensation.construct.merge import MergeCertificate, merge_neurons

__all__ = ["MergeCertificate", "merge_neurons"]
