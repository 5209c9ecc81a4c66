"""What the documents say is true: every file, command and option is in them, their links lead somewhere, and they run."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from conftest import ROOT

from indexing.cli.main import main as memgpt_index
from memgpt_rag.cli.main import main as memgpt_rag

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = {"memgpt-index": memgpt_index, "memgpt-rag": memgpt_rag}


def test_a_stranger_reads_the_readme_in_ten_minutes():
    assert len(README.splitlines()) <= 200
    assert "memgpt_rag is neither Letta (once called MemGPT) nor the PyPI package `memgpt`." in README


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
        if path.is_file() and not {"__pycache__", ".ipynb_checkpoints"} & set(path.parts)
    }
    # A folder's __init__.py says in the tree what the folder is.
    packages = {path for path in files if path.endswith("/__init__.py") and path.count("/") > 1}
    shapes = {path for path in files if path.startswith("examples/images/shapes/")}  # named by their folder
    assert sorted(paths_in_layout()) == sorted(files - packages - shapes)


def test_the_reference_of_the_commands_is_what_they_say(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    for file, written in importlib.import_module("generate_reference").pages().items():
        assert file.read_text(encoding="utf-8") == written, "run: python docs/generate_reference.py"


def commands(name: str, group: click.Group) -> Iterator[tuple[str, click.Command]]:
    for command in group.commands.values():
        yield f"{name} {command.name}", command
        if isinstance(command, click.Group):
            yield from commands(f"{name} {command.name}", command)


def test_every_command_and_every_option_has_help():
    every = dict(pair for name, group in COMMANDS.items() for pair in commands(name, group))
    assert {"memgpt-rag eval retrieval", "memgpt-rag eval answers", "memgpt-index lexical"} <= set(every)
    for name, command in every.items():
        assert command.help, name
        for parameter in command.params:
            assert not isinstance(parameter, click.Option) or parameter.help, f"{name} {parameter.name}"


def shown_commands(page: Path) -> Iterator[list[str]]:
    """The words of each command of ours that a page shows in a block."""
    for block in re.findall(r"```(?:sh|bash|console)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            line = line.removeprefix("$ ").strip()
            if line.startswith(tuple(f"{name} " for name in COMMANDS)) and "…" not in line and "[OPTIONS]" not in line:
                words = shlex.split(line, comments=True)
                yield words[: next((at for at, word in enumerate(words) if word in ("|", ">", "<", "&&")), len(words))]


def test_every_command_that_is_shown_can_be_given_so():
    shown = [(page, words) for page in PAGES for words in shown_commands(page)]
    assert len(shown) > 60
    for page, words in shown:
        group, rest = COMMANDS[words[0]], words[1:]
        command: click.Command = group
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            assert rest[0] in command.commands, f"{page.relative_to(ROOT)}: {' '.join(words)}"
            command, rest = command.commands[rest[0]], rest[1:]
        if rest[:1] not in (["--help"], ["--version"]):
            try:
                command.make_context(words[0], list(rest))
            except click.UsageError as error:
                pytest.fail(f"{page.relative_to(ROOT)}: {' '.join(words)}: {error.format_message()}")


def test_links_between_documents_lead_somewhere():
    for page in PAGES:
        # The site's pages are checked by mkdocs; these are read in the repository, too.
        for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8")):
            if page.parent == ROOT:
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_no_document_tells_of_this_machine():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w.])/(tmp|work|root|opt)/", text), page


def test_the_site_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    home = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "Retrieval-augmented generation whose knowledge sits" in home
    format_page = (tmp_path / "concepts" / "memory-format" / "index.html").read_text(encoding="utf-8")
    assert "values.arrow" in format_page, "the format's own specification is shown"


def test_ci_runs_the_readmes_test_command():
    command = re.search(r"^pip install .*pytest$", README, re.MULTILINE)
    assert command is not None
    assert command[0] in (ROOT / ".ci" / "run").read_text()


@pytest.mark.offline_models
def test_the_quickstart_of_the_readme_prints_what_it_says(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(code.strip().splitlines()) <= 10
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out in README


@pytest.mark.offline_models
def test_python_of_the_guides_that_says_so_runs(tmp_path, monkeypatch, capsys):
    """Blocks behind a comment `<!-- runs -->`."""
    text = (ROOT / "docs" / "guide" / "from-scratch.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"<!-- runs -->\n```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "from-scratch.md", "exec"), {})
    assert "1, 10000" in capsys.readouterr().out
