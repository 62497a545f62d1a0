"""Condensation, the phase diagram of two-layer networks, and multiplicity."""
