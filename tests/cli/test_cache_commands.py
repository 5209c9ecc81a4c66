"""What commands do where the user's cache folder lies, cannot be used, or is not wanted: never an error, nothing wrong."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import click.testing
import numpy as np
import pytest
from commands import COMMANDS, run
from tiny import tiny_decoder

from indexing.cli.main import main
from memgpt_rag.memory import Memory
from memgpt_rag.model.tokenizer import byte_tokenizer

pytestmark = pytest.mark.offline_models

TEXT = " ".join(f"Bench number {number} was given by family number {number} of the town." for number in range(30))
QUESTION = "Who gave bench number 7?"
SMALL = ["--encoder", "all-MiniLM-L6-v2", "--max-tokens", "48"]
SHORT = ["-k", "2", "--max-new-tokens", "4"]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("source") / "benches.txt"
    file.write_text(TEXT)
    return file


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder, tokenizer, decoder = tmp_path_factory.mktemp("model"), byte_tokenizer(), tiny_decoder("llama")
    decoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    decoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """The folder that holds the user's cache folder, which is not there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    (tmp_path / "caches").mkdir()
    return tmp_path / "caches"


def shown(*arguments: str | Path) -> tuple[str, list[str]]:
    """What a command that succeeds prints, run in this process, and its lines on stderr."""
    from importlib import import_module

    main = import_module(COMMANDS[str(arguments[0])]).main
    done = click.testing.CliRunner().invoke(main, list(map(str, arguments[1:])), prog_name=str(arguments[0]))
    assert done.exit_code == 0, done.output
    return done.stdout, [line for line in done.stderr.splitlines() if not re.match(r"\s*\d+%|passages|\s*$|read", line)]


def build(source: Path, memory: Path, *options: str) -> tuple[str, list[str]]:
    return shown("memgpt-index", "build", source, "--memory", memory, *SMALL, *options)


def ask(memory: Path, model: Path, *options: str) -> tuple[list[str], list[str]]:
    out, err = shown("memgpt-rag", "ask", QUESTION, "--memory", memory, "--model", model, *SHORT, *options)
    return out.splitlines()[:-1], err  # without the times


def caches(folder: Path, *parts: str) -> list[Path]:
    return sorted((folder / "memgpt_rag").joinpath(*parts).glob("*.sqlite"))


def change(file: Path, statement: str, *values: object) -> None:
    opened = sqlite3.connect(file)
    with opened:
        assert opened.execute(statement, values).rowcount > 0
    opened.close()


def test_both_commands_go_on_with_one_sentence_where_there_can_be_no_cache_folder(tmp_path, monkeypatch, source, model):
    memory = tmp_path / "memory"
    (tmp_path / "file").write_text("in place of a folder")
    for cache, arguments in (
        ("/proc/nowhere", ["memgpt-index", "build", source, "--memory", memory, *SMALL, "--keep-keys"]),
        (tmp_path / "file", ["memgpt-rag", "ask", QUESTION, "--memory", memory, "--model", model, *SHORT]),
    ):
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
        (line,) = (line for line in done.stderr.splitlines() if "arning" in line)
        assert re.fullmatch(
            rf"Warning: {cache}.* cannot be used as a cache \(.*\), and work goes on without it; .*\.", line
        )
        assert "Traceback" not in done.stderr
        assert "  [1]" in done.stdout or "entries in" in done.stdout


def test_no_cache_leaves_the_cache_folder_as_it_is(tmp_path, cache, source, model):
    memory = tmp_path / "memory"
    more = tmp_path / "more.txt"
    more.write_text("A later text about benches.")
    build(source, memory, "--no-cache")
    shown("memgpt-index", "add", more, "--memory", memory, "--no-cache")
    ask(memory, model, "--no-cache")
    assert list(cache.iterdir()) == []
    build(source, tmp_path / "other", "--keep-keys")
    answered = ask(memory, model)
    assert len(caches(cache)) == len(caches(cache, "keys")) == len(caches(cache, "states")) == 1
    for file in (*caches(cache), *caches(cache, "keys"), *caches(cache, "states")):
        file.write_bytes(b"not even a database" * 1000)
    assert ask(memory, model, "--no-cache")[1] == [], "nor is it read"
    assert answered[1] == []


def test_wrong_states_do_not_change_an_answer(tmp_path, cache, source, model):
    memory = tmp_path / "memory"
    build(source, memory, "--no-cache")
    before, none = ask(memory, model)
    assert none == []
    (states,) = caches(cache, "states")
    change(states, "UPDATE entries SET value = zeroblob(length(value))")
    after, warned = ask(memory, model)
    assert after == before
    assert warned == [f"Warning: {states} holds values that are not as they were kept; they are computed anew."]
    assert ask(memory, model) == (before, [])


def test_wrong_splits_do_not_change_a_memory(tmp_path, cache, source):
    build(source, tmp_path / "before")
    (splits,) = caches(cache)
    change(splits, "UPDATE entries SET value = ?", np.array([0, 5], "<u4").tobytes())
    _, warned = build(source, tmp_path / "after")
    assert warned == [f"Warning: {splits} holds values that are not as they were kept; they are computed anew."]
    before, after = (Memory.open(tmp_path / name) for name in ("before", "after"))
    assert after.passages(after.rows()) == before.passages(before.rows())
    assert len(after) > 5


def test_files_that_are_no_caches_are_left_out(tmp_path, cache, source, model):
    folder = cache / "memgpt_rag"
    build(source, tmp_path / "memory", "--keep-keys")
    before = ask(tmp_path / "memory", model)[0]
    splits, keys, states = *caches(cache), *caches(cache, "keys"), *caches(cache, "states")
    victim = tmp_path / "victim"
    victim.write_text("of the user's")
    for file in folder.rglob("*.sqlite*"):
        file.unlink()
    splits.write_bytes(b"not a database" * 1000)
    keys.symlink_to(victim)
    foreign = sqlite3.connect(states)
    foreign.execute("CREATE TABLE states (name TEXT)")
    foreign.close()
    _, warned = build(source, tmp_path / "again", "--keep-keys")
    assert [line.split(" cannot be used as a cache (")[0] for line in warned] == [
        f"Warning: {splits}",
        f"Warning: {keys}",
    ]
    after, warned = ask(tmp_path / "memory", model)
    assert after == before
    assert len(warned) == 1
    assert warned[0].startswith(f"Warning: {states} cannot be used as a cache (it is a database of another program")
    assert victim.read_text() == "of the user's"


def test_two_wishes_about_caches_exclude_each_other(tmp_path, source):
    arguments = ["build", str(source), "--memory", str(tmp_path / "memory"), "--keep-keys", "--no-cache"]
    done = click.testing.CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert "--keep-keys and --no-cache exclude each other; give one of them" in done.stderr
    assert not (tmp_path / "memory").exists()
