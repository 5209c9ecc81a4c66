"""Old names of commands and options work for one release, each with a line on stderr that tells the new one."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from indexing.cli.main import main as memgpt_index
from memgpt_rag.cli.main import main as memgpt_rag
from memgpt_rag.io.console import SentenceGroup

GONE = "; the old name goes with the next release."


@pytest.mark.parametrize(
    "main, arguments, shown",
    [
        (memgpt_index, ["words", "m"], "words is now called lexical"),
        (memgpt_index, ["build", "x", "--memory", "m", "--words"], "--words is now called --lexical"),
        (memgpt_index, ["verify", "m", "--neighbours", "7"], "--neighbours is now called --sample"),
        (memgpt_rag, ["ask", "why", "--memory", "m", "--word-weight", "0.5"], "--word-weight is now called --lexical-weight"),
        (memgpt_rag, ["ask", "why", "--memory", "m", "--word-weight=0.5"], "--word-weight is now called --lexical-weight"),
        (memgpt_rag, ["ask", "why", "--memory", "m", "--neighbours", "1"], "--neighbours is now called --adjacent"),
        (memgpt_rag, ["ask", "why", "--memory", "m", "--query", "auto"], "--query is now called --use-memory"),
        (memgpt_rag, ["ask", "why", "--memory", "m", "--adapter", "r"], "--adapter is now called --reader"),
        (memgpt_rag, ["ask", "why", "--memory", "m", "--mode", "closed"], "--mode closed is now called --mode closed_book"),
        (memgpt_rag, ["ask", "why", "--memory", "m", "--mode=closed"], "--mode closed is now called --mode closed_book"),
        (memgpt_rag, ["eval", "weight", "d", "--memory", "m"], "weight is now called lexical-weight"),
        (memgpt_rag, ["eval", "answers", "q", "--memory", "m", "--mode", "closed"], "--mode closed is now called"),
        (memgpt_rag, ["train", "--memory", "m", "--questions", "q", "--adapter", "r"], "--adapter is now called --output"),
    ],
    ids=str,
)  # fmt: skip
def test_an_old_name_works_and_tells_the_new_one(main, arguments, shown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, arguments)
    line, *others = done.stderr.splitlines()
    assert shown in line
    assert line.endswith(GONE)
    # What follows is about the files, which are not there: everything given was understood.
    assert done.exit_code == 1, others
    assert "No such option" not in done.stderr


def test_what_only_looks_like_an_old_name_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments in (["closed", "--memory", "m"], ["--memory", "m", "--", "--reader"]):
        assert "is now called" not in CliRunner().invoke(memgpt_rag, ["ask", *arguments]).stderr


def test_every_new_name_is_one_that_there_is():
    def check(group: click.Group) -> int:
        assert isinstance(group, SentenceGroup)
        assert set(group.renamed_commands.values()) <= set(group.commands)
        for command, renamed in group.renamed_options.items():
            known = {name for option in group.commands[command].params for name in option.opts}
            for old, new in renamed.items():
                assert new.split()[0] in known
                assert old not in known
        inner = [command for command in group.commands.values() if isinstance(command, click.Group)]
        return len(group.renamed_options) + sum(map(check, inner))

    assert check(memgpt_rag) + check(memgpt_index) >= 8


@pytest.mark.parametrize("main, name", [(memgpt_index, "memgpt-index"), (memgpt_rag, "memgpt-rag")])
def test_the_version_is_reported(main, name):
    from importlib.metadata import version

    done = CliRunner().invoke(main, ["--version"], prog_name=name)
    assert (done.exit_code, done.stdout) == (0, f"{name} {version('memgpt_rag')}\n")
