"""Training: the ensemble engine, optimisers, fused kernels, and tracking of a user's own loop."""
