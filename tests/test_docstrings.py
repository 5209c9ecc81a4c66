"""Every public name says what it is; the main ones show an example, which runs."""

from __future__ import annotations

import ast
import doctest
import importlib
from collections.abc import Iterator
from pathlib import Path

import house
import pytest
from conftest import ROOT

import indexing
import memgpt_rag

MODULES = house.sources(ROOT)
Node = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def public(path: Path) -> Iterator[tuple[str, Node, Node | None]]:
    """Functions, classes and methods of a module whose names have no underscore in front, with their class."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, Node) and not node.name.startswith("_"):
            yield node.name, node, None
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    is_method = isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
                    if is_method and not inner.name.startswith("_") and not _is_setter(inner):
                        yield f"{node.name}.{inner.name}", inner, node


def _is_setter(method: ast.FunctionDef) -> bool:
    return any(ast.unparse(one).endswith(".setter") for one in method.decorator_list)


def inherits_its_docstring(module: str, name: str) -> bool:
    """Whether a method overrides one that has a docstring, of this project or of a library."""
    class_name, _, method = name.partition(".")
    kind = getattr(importlib.import_module(module), class_name)
    return any(getattr(base.__dict__.get(method), "__doc__", None) for base in kind.__mro__[1:])


# What implements a protocol of ours, or stands for one by its shape, says it there.
PROTOCOLS = {
    "passages", "keys", "states", "search", "candidates", "rows", "close", "manifest", "num_rows", "term_statistics",
    "encode_queries", "encode_passages", "count_tokens", "rate", "forward", "put", "end", "name", "get",
}  # fmt: skip


def test_every_public_name_has_a_docstring():
    missing = []
    for module, path in MODULES.items():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{module} says nothing"
        for name, node, owner in public(path):
            if ast.get_docstring(node) is None and not (owner is not None and node.name in PROTOCOLS):
                missing.append((module, name))
    missing = [
        (module, name) for module, name in missing if "." not in name or not inherits_its_docstring(module, name)
    ]
    assert not missing, "\n".join(f"{module}.{name}" for module, name in missing)


@pytest.mark.parametrize(("package", "names"), [(memgpt_rag, memgpt_rag.__all__), (indexing, indexing.__all__)])
def test_what_users_import_is_there_and_documented(package, names):
    for name in names:
        assert getattr(package, name).__doc__, name


# The README's quickstart runs the slow ones in every suite.
EXAMPLES = [
    pytest.param("memgpt_rag.rag", "RAG.answer", id="RAG.answer", marks=pytest.mark.slow),
    pytest.param("memgpt_rag.memory.memory", "Memory.create", id="Memory.create"),
    pytest.param("memgpt_rag.encoders.load", "load_encoder", id="load_encoder"),
    pytest.param("indexing.jobs.build", "build", id="build", marks=pytest.mark.slow),
]


@pytest.mark.offline_models
@pytest.mark.parametrize(("module", "name"), EXAMPLES)
def test_the_example_of_a_main_name_runs(module, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(ROOT / "examples" / "knowledge")
    loaded = importlib.import_module(module)
    found = loaded
    for part in name.split("."):
        found = getattr(found, part)
    names = {**vars(loaded), **{one: getattr(memgpt_rag, one) for one in memgpt_rag.__all__}, "build": indexing.build}
    if name == "RAG.answer":
        indexing.build("docs", "my-memory")
    (test,) = [one for one in doctest.DocTestFinder().find(found, name, globs=names) if one.examples]
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
