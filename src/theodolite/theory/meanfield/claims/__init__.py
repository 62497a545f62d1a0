"""Statements of the mean-field papers, and of the notes that started this topic, as checks on records."""

from theodolite.theory.meanfield.claims import architectures, isometry, signals, training

__all__ = ["architectures", "isometry", "signals", "training"]
