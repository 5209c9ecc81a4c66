"""Figures of the house: how many files stand at the top, circles of imports, longest function, and other signs of order.

    python tests/house.py            of this checkout
    python tests/house.py FOLDER     of another one, such as an earlier commit

Prints a table and then one JSON line. `tests/test_structure.py` holds the figures of this checkout to their limits.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGES = ("memgpt_rag", "indexing")
# What makes a function a command, whose parameters are options of the command line.
_COMMANDS = ("command", "click.")
# Closed sets of options, each of which is to be written down once: in `choices.py`.
CLOSED_SETS = [
    ("memory", "prompt"), ("always", "never", "auto"), ("quality", "compact"), ("dense", "bm25", "hybrid"),
    ("scores", "ranks"), ("cosine", "euclidean"), ("int8", "int4", "fp16", "bf16", "fp32"), ("local", "ray"),
    ("auto", "exact", "hnsw"), ("torch", "openvino", "onnx"), ("fp32", "bf16", "int8"),
    ("string", "integer", "number"), ("cosine", "linear", "constant_with_warmup"),
]  # fmt: skip


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Everything in a file, the whole module first."""
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def sources(root: Path) -> dict[str, Path]:
    """Module → file of both packages."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported_names(tree: ast.AST) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Modules and names imported anywhere in a file, inside functions too; those for type checking only are left out."""
    if isinstance(tree, ast.If) and "TYPE_CHECKING" in ast.dump(tree.test):
        return
    if isinstance(tree, ast.Import):
        yield from ((alias.name, ()) for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom) and tree.module:
        yield tree.module, tuple(alias.name for alias in tree.names)
    for child in ast.iter_child_nodes(tree):
        yield from imported_names(child)


def imports(path: Path, modules: dict[str, Path]) -> set[str]:
    """Every module that a file imports; of this project's own, the module that is meant and not its package."""
    found: set[str] = set()
    for module, names in imported_names(nodes(path)[0]):
        inner = {f"{module}.{name}" for name in names} & set(modules)
        found |= inner
        if len(inner) < len(names) or not names:
            found.add(module)
    return found


def own_imports(modules: dict[str, Path]) -> dict[str, set[str]]:
    return {
        module: {name for name in imports(path, modules) if name in modules and name != module}
        for module, path in modules.items()
    }


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Sets of modules that import each other (Tarjan 1972)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        stack.append(module)
        for imported in graph[module]:
            if imported not in order:
                visit(imported)
                lowest[module] = min(lowest[module], lowest[imported])
            elif imported in stack:
                lowest[module] = min(lowest[module], order[imported])
        if lowest[module] == order[module]:
            place = stack.index(module)
            if len(stack) - place > 1:
                found.append(sorted(stack[place:]))
            del stack[place:]

    for module in graph:
        if module not in order:
            visit(module)
    return found


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in nodes(path) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function with its signature and its docstring, without decorators."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def is_command(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(any(word in ast.unparse(one) for word in _COMMANDS) for one in function.decorator_list)


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return len([one for one in every if one.arg not in ("self", "cls")])


def copies_of_closed_sets(modules: dict[str, Path]) -> list[str]:
    """Places, outside of `choices.py`, where a closed set of options is written out as a list or a Literal."""
    found = []
    for module, path in modules.items():
        if module == "memgpt_rag.choices":
            continue
        for node in nodes(path):
            if not isinstance(node, ast.List | ast.Tuple | ast.Set):
                continue
            texts = [one.value for one in node.elts if isinstance(one, ast.Constant)]
            if any(len(texts) >= len(known) and tuple(texts[: len(known)]) == known for known in CLOSED_SETS):
                found.append(f"{module}:{node.lineno}")
    return found


def definitions_of_holding(root: Path, modules: dict[str, Path]) -> list[str]:
    """Functions that decide for themselves whether a text holds an answer, and do not ask another one that does."""
    named = re.compile(r"^(contains|holds|contains_answer|holds_answer|holds_any)$")
    found = []
    for path in [*modules.values(), *sorted((root / "benchmarks").glob("*.py"))]:
        for function in functions(path):
            if not named.match(function.name):
                continue
            calls = {ast.unparse(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)}
            if not any(named.match(call) for call in calls):
                found.append(f"{path.relative_to(root)}:{function.name}")
    return found


def measure(root: Path) -> dict[str, tuple[int, str]]:
    """Name of each figure → figure, and where it comes from."""
    modules = sources(root)
    every = [(function, path) for path in modules.values() for function in functions(path)]
    longest, where = max(every, key=lambda pair: lines(pair[0]))
    plain = [pair for pair in every if not is_command(pair[0])]
    widest, wide_in = max(plain, key=lambda pair: parameters(pair[0]))
    found = circles(own_imports(modules))
    copies, holding = copies_of_closed_sets(modules), definitions_of_holding(root, modules)
    top = sorted(path.name for path in (root / "memgpt_rag").iterdir() if path.is_file())
    return {
        "files at the top of memgpt_rag": (len(top), ", ".join(top)),
        "circles of imports": (len(found), "; ".join(" ↔ ".join(circle) for circle in found)),
        "longest function, lines": (lines(longest), f"{where.relative_to(root)}:{longest.name}"),
        "most parameters, no command": (parameters(widest), f"{wide_in.relative_to(root)}:{widest.name}"),
        "copies of a closed set": (len(copies), ", ".join(copies)),
        'definitions of "holds the answer"': (len(holding), ", ".join(holding)),
        "largest file, lines": max((len(path.read_text().splitlines()), module) for module, path in modules.items()),
    }


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]).resolve()
    figures = measure(root)
    for name, (figure, where) in figures.items():
        print(f"{name:<36}{figure:>6}  {where[:150]}")
    print(json.dumps({name: figure for name, (figure, _) in figures.items()}))


if __name__ == "__main__":
    main()
