"""What a module can show: one cached look at a model, its data and its loss."""

from theodolite.lens.architecture import Architecture, read_architecture
from theodolite.lens.frozen import frozen
from theodolite.lens.graph import Graph, Node, Ref, trace
from theodolite.lens.lens import Lens

__all__ = ["Architecture", "Graph", "Lens", "Node", "Ref", "frozen", "read_architecture", "trace"]
