"""Statements of the literature as checks on the records of this topic."""

from theodolite.theory.generalization.claims import double_descent, implicit_bias, random_labels

__all__ = ["double_descent", "implicit_bias", "random_labels"]
