"""The notebooks in examples/notebooks: each is stored without results, and its code runs from top to bottom."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

NOTEBOOKS = ROOT / "examples" / "notebooks"
# What lines of their output have to look like. Answers start a line; the text of a citation is indented.
PRINTED = {
    "memory-against-prompt.ipynb": [r"^memory .*40 yuan", r"^memory .*children", r"^prompt .* s ", r"^closed_book .* s "],
    "quickstart.ipynb": [r"^40 yuan", r"^\S*六点", r"^not in memory"],
    "tutorial.ipynb": [r"^step 200: loss [01]\.", r"^with memory: trained on 0\.[5-9]", r"memory: .*晴", r"memory: .*划船", r"memory: .*六点"],
    "your-own-documents.ipynb": [r"^11 added", r"^0 added, 11 kept", r"^40 yuan", r"^\S*晴朗", r"^source == \"weather"],
}  # fmt: skip


def read(name: str) -> dict[str, Any]:
    return json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))


def code_cells(notebook: dict[str, Any]) -> list[str]:
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def test_each_notebook_says_what_it_has_to_print():
    assert sorted(path.name for path in NOTEBOOKS.iterdir() if path.suffix == ".ipynb") == sorted(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_a_notebook_is_valid_and_stored_without_results(name):
    notebook = read(name)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in notebook["cells"]:
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", cell["id"])
        assert cell["cell_type"] in ("code", "markdown")
        assert all(isinstance(line, str) for line in cell["source"])
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
    for number, code in enumerate(code_cells(notebook), 1):
        compile(code, f"{name}, code cell {number}", "exec")


@pytest.mark.offline_models
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name != "quickstart.ipynb" else name for name in PRINTED],
)
def test_a_notebook_runs_from_top_to_bottom(name, tmp_path, monkeypatch, capsys):
    copy = tmp_path / "examples"
    shutil.copytree(ROOT / "examples", copy)
    before = files(copy)
    monkeypatch.chdir(copy / "notebooks")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, code in enumerate(code_cells(read(name)), 1):
        exec(compile(code, f"{name}, code cell {number}", "exec"), names)
    printed = capsys.readouterr().out
    for line in PRINTED[name]:
        assert re.search(line, printed, re.MULTILINE), f"{line} in\n{printed}"
    assert files(copy) == before, "it wrote beside the examples"


def test_a_cell_is_joined_from_its_lines():
    cells = [
        {"cell_type": "code", "source": ["one = 1\n", "print(one)"]},
        {"cell_type": "markdown", "source": ["# Two"]},
        {"cell_type": "code", "source": []},
    ]
    assert code_cells({"cells": cells}) == ["one = 1\nprint(one)", ""]
