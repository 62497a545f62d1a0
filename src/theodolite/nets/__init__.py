"""Activations, initialisers and the architectures of the papers."""
