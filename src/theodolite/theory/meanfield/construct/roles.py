"""What each layer of a traced module is for an initialisation: first, hidden, behind a norm, end of a residual branch, readout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from theodolite.lens.graph import Graph, Node
from theodolite.maths.activation import Activation, identify
from theodolite.theory.meanfield.construct.held import AFFINE

__all__ = ["NORMS", "Plan", "plan_by_trace"]

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, *BATCH_NORMS, *INSTANCE_NORMS)
#: Node kinds that keep the statistics of single units: walking from an affine node to what it reads passes through them.
TRANSPARENT = ("reshape", "dropout", "pool")


@dataclass
class Plan:
    """Affine module -> its role and the activation that it reads, found from a trace; second moments of what first layers read."""

    roles: dict[str, tuple[str, Activation | None]] = field(default_factory=dict)
    powers: dict[str, float] = field(default_factory=dict)
    #: what scales a branch, its last affine module or the norm behind that -> the branch's layers that read no activation
    ends: dict[str, list[str]] = field(default_factory=dict)
    branches: int = 0
    notes: list[str] = field(default_factory=list)


def plan_by_trace(model: nn.Module, graph: Graph, activation: Any) -> Plan:
    """The plan of a traced module; ``activation`` stands for those of all layers, unless it is None."""
    modules = {n for n, m in model.named_modules() if isinstance(m, AFFINE)}
    plan, last, lonely = Plan(), None, set()
    ends = _branches(model, graph, modules, plan)
    for node in graph:
        if node.kind != "affine" or node.module not in modules:
            continue
        phi, role, source = _reads(graph, node)
        if source.kind == "embedding":
            plan.powers[node.module] = float((source.weight.detach().double() ** 2).mean())
        if phi is None:
            lonely.add(node.module)
        feeds = _activation_after(graph, node)
        chosen = activation if activation is not None else (phi if phi is not None else feeds)
        chosen = None if chosen is None else identify(chosen)
        if node.module in ends:
            role = "branch end"
        plan.roles[node.module] = role, chosen
        last = node
    if last is not None and plan.roles[last.module][0] != "branch end" and _activation_after(graph, last) is None:
        plan.roles[last.module] = "readout", plan.roles[last.module][1]
    plan.ends = {end: [n for n in inner if n in lonely] for end, inner in plan.ends.items()}
    if plan.ends:
        plan.notes.append(f"{plan.branches} residual branches: what they end in is scaled by at most 1/√{plan.branches}")
    return plan


def _branches(model: nn.Module, graph: Graph, modules: set[str], plan: Plan) -> set[str]:
    """Enter the residual branches into the plan; the affine modules that end them and are scaled."""
    sizes = {n for n, m in model.named_modules() if isinstance(m, NORMS) and any(True for _ in m.parameters(recurse=False))}
    ends = set()
    for add in (n for n in graph if n.kind == "add" and len(n.parents) == 2):
        for parent, other in (add.parents, add.parents[::-1]):
            end, norm = _branch_end(graph, graph[parent])
            if end is None or end.module not in modules or other not in _ancestors(graph, end.parents):
                continue
            if norm is not None and norm.module not in sizes:
                plan.notes.append(
                    f"the branch that ends in {norm.name} is not scaled: the norm has no weight, and undoes any scale"
                )
                break
            before = _ancestors(graph, end.parents) - _ancestors(graph, (other,))
            inner = [graph[i].module for i in sorted(before) if graph[i].kind == "affine" and graph[i].module in modules]
            plan.ends[norm.module if norm is not None else end.module] = inner
            plan.branches += 1  # a block that runs twice is two branches
            if norm is None:
                ends.add(end.module)
            break
    return ends


def _reads(graph: Graph, node: Node) -> tuple[Callable[..., Any] | None, str, Node]:
    """(activation that an affine node reads, role, the node that it reads)."""
    at = graph[node.parents[0]]
    role = "hidden"
    while at.kind in (*TRANSPARENT, "norm") and at.parents:
        role = "after norm" if at.kind == "norm" else role
        at = graph[at.parents[0]]
    if role == "after norm":
        return None, role, at
    if at.kind == "elementwise":
        return at.activation, "hidden", at
    return None, "first" if at.kind in ("input", "embedding") else "hidden", at


def _activation_after(graph: Graph, node: Node) -> Callable[..., Any] | None:
    seen, frontier = set(), [node.index]
    while frontier:
        index = frontier.pop(0)
        for child in graph.children(index):
            if child in seen:
                continue
            seen.add(child)
            if graph[child].kind == "elementwise":
                return graph[child].activation
            if graph[child].kind in (*TRANSPARENT, "norm", "add"):
                frontier.append(child)
    return None


def _branch_end(graph: Graph, node: Node) -> tuple[Node | None, Node | None]:
    """(the last affine node before ``node``, the last norm behind it), if only transparent, norm and elementwise nodes lie between."""
    norm = None
    while node.kind in (*TRANSPARENT, "norm", "elementwise") and len(node.parents) == 1:
        norm = norm or (node if node.kind == "norm" else None)
        node = graph[node.parents[0]]
    return (node, norm) if node.kind == "affine" else (None, None)


def _ancestors(graph: Graph, start: tuple[int, ...]) -> set[int]:
    """The nodes ``start`` and all that they depend on."""
    seen, frontier = set[int](), list(start)
    while frontier:
        index = frontier.pop()
        if index not in seen:
            seen.add(index)
            frontier.extend(graph[index].parents)
    return seen
