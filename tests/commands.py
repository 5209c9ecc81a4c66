"""What tests of the commands share: running one, here or as a shell does, and questions about the demo's knowledge."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from click.testing import CliRunner
from conftest import ROOT

KNOWN = [
    ("How much does it cost to rent a rowing boat?", "40 yuan an hour"),
    ("When does Riverside Park open?", "six in the morning"),
    ("Which metro line goes to the park?", "Metro line 3"),
    ("Who can borrow a kite?", "Children under twelve"),
    ("遛狗必须怎么做？", "牵绳"),
    ("公园几点开门？", "早上六点"),
    ("谁可以借风筝？", "十二岁以下"),
    ("今天天气怎么样？", "晴朗"),
]
KNOWLEDGE = ROOT / "examples" / "knowledge"
COMMANDS = {"memgpt-index": "indexing.cli.main", "memgpt-rag": "memgpt_rag.cli.main"}


def environment() -> dict[str, str]:
    """Of a command: that of this process as it is now."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}


def command_line(*arguments: str | Path) -> list[str]:
    """A command as the system starts it."""
    module = COMMANDS[str(arguments[0])]
    code = f"import sys; sys.argv[0] = {str(arguments[0])!r}; from {module} import main; main()"
    return [sys.executable, "-c", code, *map(str, arguments[1:])]


def run(*arguments: str | Path, stdin: str = "", cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, which has the heavy imports behind it. Nothing that it does wrong is hidden."""
    main = import_module(COMMANDS[str(arguments[0])]).main
    before, words = Path.cwd(), sys.argv
    os.chdir(cwd)
    sys.argv = [*map(str, arguments)]  # what a report says it was made with
    try:
        done = CliRunner().invoke(main, [*map(str, arguments[1:])], input=stdin, prog_name=str(arguments[0]))
    finally:
        os.chdir(before)
        sys.argv = words
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


def run_in_shell(*arguments: str | Path, stdin: str = "", cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, as a shell does."""
    return subprocess.run(
        command_line(*arguments), input=stdin, capture_output=True, text=True, cwd=cwd, env=environment(), timeout=600
    )


def refused(*arguments: str | Path, status: int = 1) -> str:
    """The sentence on stderr of a command that must fail without a traceback and print nothing else."""
    done = run(*arguments)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr
