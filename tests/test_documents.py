"""What the documents say is true: every file and command is in them, and what they show runs."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from conftest import ROOT

from indexing.engines.local import LocalEngine
from indexing.jobs.build_memory import build_memory
from indexing.passages.split_passages import PassageSplitter
from indexing.sources.find_files import find_files

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_says_first_what_this_is_not():
    assert README.splitlines()[0] == "memgpt_rag is neither Letta (once called MemGPT) nor the PyPI package `memgpt`."


def paths_in_layout() -> Iterator[str]:
    """Full paths of the tree in docs/development/layout.md, each line of which says what it is."""
    layout = (ROOT / "docs" / "development" / "layout.md").read_text(encoding="utf-8")
    folders: list[str] = []
    for line in re.search(r"```text\n(.*?)```", layout, re.DOTALL)[1].splitlines():
        name, about = line.split(maxsplit=1)
        del folders[(len(line) - len(line.lstrip())) // 2 :]
        assert about
        if name.endswith("/"):
            folders.append(name.rstrip("/"))
        else:
            yield "/".join([*folders, name])


def test_the_layout_names_every_file_and_no_other():
    files = {
        path.relative_to(ROOT).as_posix()
        for folder in ("memgpt_rag", "indexing", "benchmarks", "examples")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    # A folder's __init__.py says in the tree what the folder is.
    packages = {path for path in files if path.endswith("/__init__.py") and path.count("/") > 1}
    listed = list(paths_in_layout())
    assert sorted(listed) == sorted(files - packages)


def test_every_option_is_in_the_help_and_every_command_in_the_readme():
    import click

    from indexing.cli.main import main as index
    from memgpt_rag.cli.main import main as rag

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
