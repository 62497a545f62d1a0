"""Functions, separable sets, digits and other data that the experiments use."""

from theodolite.data.digits import Split, digits
from theodolite.data.functions import TARGETS, three_cosines, three_sines, two_kinks
from theodolite.data.mnist import mnist

__all__ = ["TARGETS", "Split", "digits", "mnist", "three_cosines", "three_sines", "two_kinks"]
