"""Functions, separable sets, digits and other data that the experiments use."""
