"""The settings in a config that is Python text, read without running any of it."""

from __future__ import annotations

import ast
from typing import Any

TEXT_LIMIT = 1 << 20  # characters


def read_python_config(text: str) -> dict[str, Any]:
    """Assignments of plain values, of lists, and of `dict(...)`; what is anything else is left out.

    Empty for a text that is no Python or too long.
    """
    if len(text) > TEXT_LIMIT:
        return {}
    try:
        tree = ast.parse(text)
        assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
        return {
            target.id: _value(node.value)
            for node in assigned
            for target in node.targets
            if isinstance(target, ast.Name)
        }
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.Call(func=ast.Name(id="dict")):
            return {item.arg: _value(item.value) for item in node.keywords if item.arg}
        case ast.Dict():
            pairs = zip(node.keys, node.values, strict=True)
            return {
                key.value: _value(value) for key, value in pairs if isinstance(key, ast.Constant)
            }
        case ast.List() | ast.Tuple():
            return [_value(item) for item in node.elts]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
    return None
