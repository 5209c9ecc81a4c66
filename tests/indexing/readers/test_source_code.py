"""Source code: a block for each function under its name, every line in one block, indentation kept."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.sources.document import Document
from indexing.sources.formats import read_path
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.code import source_code
from indexing.sources.readers.code import units as code_units


def read(folder: Path, name: str, text: str) -> Document:
    path = folder / name
    path.write_bytes(text.encode())
    (document,) = read_path(path, name, ReadOptions())
    assert isinstance(document, Document)
    assert {block.kind for block in document.blocks} <= {"code"}
    return document


def places(document: Document) -> list[tuple[str, int, int]]:
    return [(" ".join(block.headings), block.first, block.last) for block in document.blocks]


PYTHON = '''"""Tides."""
import math

# When it floods.
# Roughly.
@cached
def flood(day):
    """Hours after midnight."""

    return 6 + day % 12


class Gate(Base):
    """A gate."""

    width = 4

    # Slowly.
    async def open(self):
        def turn():
            return 1

        return turn

    height = 2
'''


def test_python_by_functions_with_comments_and_decorators(tmp_path):
    document = read(tmp_path, "tides.py", PYTHON)
    assert places(document) == [
        ("", 1, 2),
        ("flood", 4, 10),
        ("Gate", 13, 16),
        ("Gate.open", 18, 23),
        ("Gate", 25, 25),
    ]
    assert document.blocks[3].text.startswith("    # Slowly.\n    async def open(self):\n        def turn():")
    assert (document.title, document.unit) == ("", "line")


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("a.js", "// f\nexport const f = (x) => {\n  return x;\n};\n\nmodule.exports.g = function () {};\n", ["f 1-4", "module.exports.g 6-6"]),
        ("a.ts", "export class A<T> {\n  n = 1;\n  /** go */\n  go(): void {}\n}\n", ["A 1-2", "A.go 3-5"]),
        ("a.tsx", "function App() {\n  return <p>x</p>;\n}\n", ["App 1-3"]),
        ("A.java", "/** Doc */\n@Old\nclass A {\n  int n;\n\n  void go() {\n  }\n}\n", ["A 1-4", "A.go 6-8"]),
        ("a.c", "static int *go(int a) {\n  return 0;\n}\ntypedef struct { int n; } Boat;\n", ["go 1-3", "Boat 4-4"]),
        ("a.h", "#ifndef A\nnamespace n {\nclass A {\n  void go() {}\n};\n}\n#endif\n", [" 1-1", "n 2-2", "n.A 3-3", "n.A.go 4-6", " 7-7"]),
        ("a.cpp", "template <class T>\nvoid Gate::go() {\n}\n", ["Gate.go 1-3"]),
        ("a.go", "package a\n\n// Go goes.\nfunc (g *Gate) Go() {\n}\n\ntype Gate struct {\n\tn int\n}\n", [" 1-1", "Gate.Go 3-5", "Gate 7-9"]),
        ("a.rs", "/// Doc\n#[test]\nstruct A;\nimpl A {\n  fn go(&self) {}\n}\n", ["A 1-3", "A 4-4", "A.go 5-6"]),
        ("a.rb", "module M\n  class A\n    # doc\n    def go\n    end\n  end\nend\n", ["M 1-1", "M.A 2-2", "M.A.go 3-7"]),
        ("a.php", "<?php\nclass A {\n  public $n;\n  function go() {}\n}\n", [" 1-1", "A 2-3", "A.go 4-5"]),
        ("A.cs", "class A {\n  [Old]\n  void Go() {\n  }\n}\n", ["A 1-1", "A.Go 2-5"]),
        ("a.sh", "set -e\n# doc\ngo() {\n  echo 1\n}\ngo\n", [" 1-1", "go 2-5", " 6-6"]),
        ("a.sql", "SELECT a\n  FROM b;\n\nSELECT c;\n", [" 1-2", " 4-4"]),
        ("a.toml", "[a]\nb = 1\n\n[c]\n  d = 2\n", [" 1-2", " 4-5"]),
    ],
)  # fmt: skip
def test_other_languages(tmp_path, name, text, expected):
    assert [f"{title} {first}-{last}" for title, first, last in places(read(tmp_path, name, text))] == expected


def test_code_without_functions_keeps_lines_and_indentation(tmp_path):
    document = read(tmp_path, "a.py", "for a in b:\r\n    if a:\r\n        print(a)\r\n\r\nx = 1\r\n")
    assert [block.text for block in document.blocks] == ["for a in b:\n    if a:\n        print(a)", "x = 1"]


def test_a_file_with_errors_is_kept_whole(tmp_path):
    document = read(tmp_path, "a.py", "def f(:\n    return (\nclass\n\ndef g():\n    pass\n)))\n")
    kept = "\n".join(block.text for block in document.blocks)
    assert [line for line in kept.split("\n") if line] == [
        "def f(:", "    return (", "class", "def g():", "    pass", ")))",
    ]  # fmt: skip


LINES = st.sampled_from(
    [
        "def f():",
        "  def g(self):",
        "class A:",
        "    return 1",
        "",
        "}",
        "{",
        "# c",
        "@d",
        "void f() {",
        "class B {",
        "end",
        "x(",
        '"""',
        "<",
    ]
)


@given(st.lists(LINES, max_size=30), st.sampled_from([".py", ".js", ".cpp", ".rb", ".rs", ".go", ".sh"]))
def test_every_line_is_in_one_block_in_order(lines, suffix):
    text = "\n".join(lines)
    blocks = source_code._blocks(lines, code_units.code_units(text, f"a{suffix}") or [])
    for block in blocks:
        assert block.text == "\n".join(lines[block.first - 1 : block.last])
    assert all(one.last < other.first for one, other in pairwise(blocks))
    covered = {number for block in blocks for number in range(block.first, block.last + 1)}
    assert covered >= {number for number, line in enumerate(lines, 1) if line}


@pytest.mark.parametrize(
    "name, text",
    [
        ("A.java", "a<" * 20_000),
        ("A.cs", "a<" * 20_000),
        ("a.sh", "<<a\n" * 20_000),
        ("a.py", "(" * 100_000),
        ("a.js", "{" * 100_000),
    ],
)
def test_hostile_code_is_kept(tmp_path, name, text):
    document = read(tmp_path, name, text)
    assert "\n".join(block.text for block in document.blocks).replace("\n", "") == text.replace("\n", "")


def test_a_parse_that_takes_too_long_is_given_up(monkeypatch):
    assert code_units.code_units("def f():\n    pass\n" * 2000, "a.py")
    assert code_units.code_units("<!--" * 3800, "a.c") is None, "the parser takes the square of its length"
    monkeypatch.setattr(code_units, "_MAX_SECONDS", -1)
    assert code_units.code_units("def f():\n    pass\n" * 2000, "a.py") is None
