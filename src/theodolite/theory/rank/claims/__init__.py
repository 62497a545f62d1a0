"""What the sources say about ε-rank, as checks on records."""

from theodolite.theory.rank.claims import architecture, staircase, theorems

__all__ = ["architecture", "staircase", "theorems"]
