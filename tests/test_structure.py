"""The promises that hold the house together: who may know whom, what the README says, what the format's one owner owns."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

from indexing.build_memory import build_memory
from indexing.engine import LocalEngine
from indexing.find_files import find_files
from indexing.split_passages import PassageSplitter
from memgpt_rag.memory import format as disk

SOURCES = sorted([*ROOT.glob("memgpt_rag/**/*.py"), *ROOT.glob("indexing/**/*.py")])
README = (ROOT / "README.md").read_text(encoding="utf-8")


def imports(path: Path) -> set[str]:
    """Every module that a file imports anywhere, those for type checking only left out."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def test_the_library_never_imports_the_job():
    for path in ROOT.glob("memgpt_rag/**/*.py"):
        assert "indexing" not in roots(path), path


def test_only_one_file_imports_faiss():
    assert [path.name for path in SOURCES if "faiss" in roots(path)] == ["faiss_index.py"]


def test_the_memory_never_imports_torch():
    for path in ROOT.glob("memgpt_rag/memory/**/*.py"):
        assert not {"torch", "transformers", "sentence_transformers"} & roots(path), path
    code = "import sys, memgpt_rag.memory\nassert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_only_one_file_knows_where_the_cache_folder_is():
    assert [path.name for path in SOURCES if "platformdirs" in roots(path)] == ["cache_folder.py"]


def test_the_model_never_searches():
    for path in ROOT.glob("memgpt_rag/model/**/*.py"):
        names = imports(path)
        assert not any(
            name.startswith(("memgpt_rag.memory", "memgpt_rag.encoder", "memgpt_rag.retrieve", "pyarrow"))
            for name in names
        ), path


def test_file_names_of_the_format_occur_in_its_module_only():
    for path in SOURCES:
        if path != Path(disk.__file__):
            text = path.read_text(encoding="utf-8")
            for name in (disk.MANIFEST, disk.KEYS, disk.VALUES):
                assert name not in text, f"{name} in {path}"


def test_nothing_is_pickled_and_nothing_read_is_executed():
    for path in SOURCES:
        assert not {"pickle", "dill", "joblib", "shelve", "marshal"} & roots(path), path
        text = path.read_text(encoding="utf-8")
        for call in ("torch.load", "allow_pickle", "weights_only=False", "eval(", "exec("):
            # As a word of its own: retrieval( is no eval(.
            assert not re.search(rf"(?<!\w){re.escape(call)}", text.replace(".eval()", "")), f"{call} in {path}"


def loads(path: Path) -> Iterator[tuple[ast.Call, str]]:
    """Calls that load a model, a tokenizer or a configuration of others, with what is called."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        own = called.startswith(("MemoryDecoder.", "MemGPT."))  # which load by such calls themselves
        from_modules = any(keyword.arg == "modules" for keyword in node.keywords)
        if (
            called.endswith(("SentenceTransformer", "CrossEncoder", "SparseEncoder", "pipeline")) and not from_modules
        ) or (called.endswith((".from_pretrained", ".from_config")) and not own):
            yield node, called


def test_no_model_of_others_is_loaded_without_saying_that_its_code_does_not_run():
    found = set()
    for path in (*SOURCES, *ROOT.glob("benchmarks/*.py"), *ROOT.glob("examples/**/*.py")):
        for call, called in loads(path):
            said = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert said.get("trust_remote_code") == "False", f"{called} in {path}, line {call.lineno}"
            found.add(called)
    assert {
        "SentenceTransformer", "CrossEncoder", "AutoTokenizer.from_pretrained", "AutoModelForCausalLM.from_pretrained",
    } <= found  # fmt: skip


def test_importing_does_nothing():
    code = (
        "import sys, memgpt_rag, indexing\nassert not {'torch', 'transformers', 'faiss', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_readme_says_first_what_this_is_not():
    assert README.splitlines()[0] == "memgpt_rag is neither Letta (once called MemGPT) nor the PyPI package `memgpt`."


def test_every_file_is_in_the_readmes_tree():
    tree = README.split("## The tree", 1)[1]
    files = [
        path
        for folder in ("memgpt_rag", "indexing", "benchmarks", "examples")
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
    ]
    for path in files:
        if "__pycache__" not in path.parts:
            assert re.search(rf"\b{re.escape(path.name)}\b", tree), (
                f"{path.relative_to(ROOT)} is not in the README's tree"
            )


def test_every_option_is_in_the_help_and_every_command_in_the_readme():
    import click

    from indexing.cli import main as index
    from memgpt_rag.cli import main as rag

    def commands(name: str, group: click.Group) -> Iterator[tuple[str, click.Command]]:
        for command in group.commands.values():
            yield f"{name} {command.name}", command
            if isinstance(command, click.Group):
                yield from commands(f"{name} {command.name}", command)

    every = dict([*commands("memgpt-index", index), *commands("memgpt-rag", rag)])
    assert {"memgpt-rag eval retrieval", "memgpt-rag eval answers"} <= set(every)
    for name, command in every.items():
        assert name in README
        assert command.help
        for parameter in command.params:
            assert not isinstance(parameter, click.Option) or parameter.help, f"{name} {parameter.name}"


def test_ci_runs_the_readmes_test_command():
    command = re.search(r"^pip install .*pytest$", README, re.MULTILINE)
    assert command is not None
    assert command[0] in (ROOT / ".ci" / "run").read_text()


@pytest.mark.offline_models
def test_python_in_the_readme_runs(tmp_path, monkeypatch, capsys, e5):
    build_memory(
        find_files([ROOT / "examples" / "knowledge"]),
        tmp_path / "demo-memory",
        engine=LocalEngine(e5, PassageSplitter(e5.count_tokens)),
        tokenizer_name=e5.fingerprint.name,
    )
    monkeypatch.chdir(tmp_path)
    about_memory, about_model, from_scratch = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(about_memory, "README.md", "exec"), {})
    assert "40 yuan" in capsys.readouterr().out
    exec(compile(about_model, "README.md", "exec"), {})
    assert "7:40" in capsys.readouterr().out
    names: dict[str, object] = {}
    exec(compile(from_scratch, "README.md", "exec"), names)
    assert names["outputs"].shape == (1, 10000)
    assert names["model"].embedding.weight.grad.abs().sum() > 0
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    "command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]], ids=" ".join
)
def test_the_code_is_in_order(command):
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
