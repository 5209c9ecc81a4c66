"""Frameworks are optional: nothing imports them before they are used, and a missing one is named with its command."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
from conftest import ROOT

from memgpt_rag.errors import MissingPackageError


def test_the_library_imports_no_framework():
    code = "import sys, memgpt_rag.rag, memgpt_rag.integrations\nassert not {'langchain_core', 'llama_index', 'mteb', 'ranx', 'datasets'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize(
    ("name", "package", "says"),
    [
        ("langchain", "langchain_core", r"LangChain needs the package langchain-core, which is not installed; run: pip install 'memgpt_rag\[langchain\]'"),
        ("mteb", "mteb", r"MTEB needs the package mteb, which is not installed; run: pip install 'memgpt_rag\[mteb\]'"),
        ("llama_index", "llama_index", r"LlamaIndex needs the package llama-index-core, which is not installed; run: pip install 'memgpt_rag\[llama-index\]'"),
    ],
)  # fmt: skip
def test_a_missing_framework_is_named_with_its_command(monkeypatch, name, package, says):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"memgpt_rag.integrations.{name}", raising=False)
    with pytest.raises(MissingPackageError, match=says):
        importlib.import_module(f"memgpt_rag.integrations.{name}")


@pytest.mark.parametrize("name", ["langchain", "llama_index"])
def test_a_name_that_is_not_there_is_no_attribute(name):
    pytest.importorskip(
        "langchain_core" if name == "langchain" else "llama_index.core", reason=f"{name} is not installed"
    )
    module = importlib.import_module(f"memgpt_rag.integrations.{name}")
    with pytest.raises(AttributeError, match="has no attribute 'Chain'"):
        _ = module.Chain
