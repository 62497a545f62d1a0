"""Fused numba kernels for two-layer networks: one sweep over the neurons per step, a network at a time, in the cache."""
