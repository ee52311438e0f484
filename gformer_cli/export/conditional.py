"""The pass that only a blended decision needs, as a branch of the graph: what is not wanted is not computed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gformer_cli.export.graphs import CHOICE

if TYPE_CHECKING:
    import onnx_ir as ir


def make_branch(model: ir.Model) -> None:
    """Turn the choice of a guarded graph (see `graphs.CHOICE`) into an `If`, in place; the outputs of it go."""
    import onnx_ir as ir

    graph = model.graph
    outputs = {value.name: value for value in graph.outputs}
    condition, blended, other, chosen = (outputs[name] for name in CHOICE)
    for value in (condition, blended, other, chosen):
        graph.outputs.remove(value)
    choosing = chosen.producer()
    assert choosing is not None
    always = _made_for([*graph.outputs, condition, other], but=choosing)
    only = _made_for([blended], but=None) - always
    inner = [node for node in graph if node in only]
    graph.remove(inner)
    then = ir.Graph([], [blended], nodes=inner, name="blended", opset_imports=graph.opset_imports)
    kept = ir.node("Identity", [other])
    kept.outputs[0].name = "unblended_logits"
    otherwise = ir.Graph([], [kept.outputs[0]], nodes=[kept], name="unblended", opset_imports=graph.opset_imports)
    branch = ir.node("If", [condition], {"then_branch": then, "else_branch": otherwise})
    made = branch.outputs[0]
    made.name, made.type, made.shape = "answered_logits", chosen.type, chosen.shape
    graph.insert_before(choosing, branch)
    ir.convenience.replace_all_uses_with(chosen, made)
    graph.remove(choosing, safe=True)


def _made_for(values: Iterable[ir.Value], *, but: ir.Node | None) -> set[ir.Node]:
    """Every node that `values` need, without looking beyond the node `but`."""
    found: set[ir.Node] = set()
    waiting = [value.producer() for value in values]
    while waiting:
        node = waiting.pop()
        if node is None or node is but or node in found:
            continue
        found.add(node)
        waiting += [value.producer() for value in node.inputs if value is not None]
    return found
