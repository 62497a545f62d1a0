"""Activations, initialisers and the architectures of the papers."""

from theodolite.nets.activations import ACTIVATIONS, Elementwise, activation, activation_name, x2tanh, xtanh
from theodolite.nets.architectures import ConvBlock, ConvResNet, ResidualMLP, mlp
from theodolite.nets.init import deterministic_init_, uniform_density_init_

__all__ = [
    "ACTIVATIONS",
    "ConvBlock",
    "ConvResNet",
    "Elementwise",
    "ResidualMLP",
    "activation",
    "activation_name",
    "deterministic_init_",
    "mlp",
    "uniform_density_init_",
    "x2tanh",
    "xtanh",
]
