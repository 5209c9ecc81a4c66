"""What others wrote reaches the terminal as text: titles, names of files, ids, manifests, answers of models."""

from __future__ import annotations

import ast
import json
import shutil
import unicodedata
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from commands import COMMANDS
from conftest import ROOT
from hashing import HashEncoder
from tiny import tiny_decoder

from memgpt_rag.memory import MemoryWriter
from memgpt_rag.model.tokenizer import byte_tokenizer
from memgpt_rag.passage import Passage

# Sets the terminal's title, writes to its clipboard, clears it, begins a link; turns text round; the last two in one byte of
# Latin-1. And a line that others could take for ours.
EVIL = "\x1b]0;owned\x07\x1b]52;c;cm0=\x07\x1b[2J\x1b]8;;http://e.vil\x1b\\\u202egpj\u2028\x9b31m\nError: forged\r"
SHOWN = r"\x1b]0;owned\x07"
# As much of it as the name of a file can hold, and as the name of a folder that somebody types.
NAME = EVIL.replace("/", "|")
TYPED = NAME.replace("\n", "")


def looked_at(*arguments: str | Path, status: int = 0, stdin: bytes = b"", shows: bool = True) -> str:
    """What a command prints, which must be nothing but text; an evil text in it must be there to be seen."""
    command = import_module(COMMANDS[str(arguments[0])]).main
    done = CliRunner().invoke(command, [str(one) for one in arguments[1:]], input=stdin)
    printed = done.output_bytes.decode("utf-8", "surrogateescape")
    assert done.exit_code == status, printed
    acting = {one for one in printed if unicodedata.category(one) in ("Cc", "Cf", "Zl", "Zp", "Cs")} - {"\n", "\t"}
    assert not acting, printed
    assert "\nError: forged" not in printed
    assert not shows or SHOWN in printed, printed
    return printed


def write(folder: Path, encoder, number: int, *, name: str = EVIL) -> Path:
    """Commit an entry whose every field is evil."""
    said = Passage(f"{name} {number}", f"A boat costs 40. {name}", name, name, name, name, 1, 2, 0, 5)
    with MemoryWriter(folder) as writer:
        writer.add_values([said])
        writer.add_keys(encoder.encode_passages([said.titled_text]))
        writer.commit(
            encoder.fingerprint, splitting={"tokenizer": name, "max_tokens": 160}, job={"name": name, name: 1}
        )
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evil") / TYPED
    encoder = HashEncoder(name=EVIL, query_prompt=EVIL)
    for number in range(2):
        write(folder, encoder, number)
    return folder


@pytest.fixture
def memory(written, tmp_path) -> Path:
    return Path(shutil.copytree(written, tmp_path / TYPED))


@pytest.mark.parametrize(
    "command",
    [
        ["memgpt-rag", "info", "MEMORY"],
        ["memgpt-index", "versions", "MEMORY"],
        ["memgpt-index", "diff", "MEMORY", "1"],
        ["memgpt-index", "verify", "MEMORY"],
        ["memgpt-index", "delete", "--memory", "MEMORY", "--dry-run", "--where", "first == 1"],
        ["memgpt-index", "compact", "MEMORY"],
        ["memgpt-index", "rollback", "MEMORY", "1"],
        ["memgpt-index", "lexical", "MEMORY"],
        ["memgpt-index", "expire", "MEMORY"],
    ],
    ids=lambda command: command[1],
)
def test_a_memory_of_others_only_shows_what_it_holds(memory, command):
    looked_at(*(memory if word == "MEMORY" else word for word in command))


@pytest.mark.parametrize(
    "command, status",
    [
        (["memgpt-index", "rollback", "MEMORY", "77"], 1),
        (["memgpt-index", "verify", f"no{TYPED}"], 1),
        (["memgpt-index", "delete", "--memory", "MEMORY", "--dry-run", "--where", EVIL], 1),
        (["memgpt-index", "build", f"no{TYPED}", "--memory", "m"], 1),
        (["memgpt-index", "build", "x", "--memory", "m", "--metadata", EVIL], 2),
        (["memgpt-rag", EVIL], 2),
        (["memgpt-rag", "info", "MEMORY", f"--{EVIL}"], 2),
        (["memgpt-rag", "ask", "why", "--memory", "MEMORY"], 1),
    ],
    ids=str,
)
def test_errors_quote_what_is_wrong_as_text(memory, command, status):
    looked_at(*(memory if word == "MEMORY" else word for word in command), status=status)


def test_a_damaged_memory_is_reported_as_text(tmp_path):
    folder = tmp_path / f"no {TYPED}"
    (folder / "segments").mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"format": EVIL, "version": EVIL}))
    looked_at("memgpt-index", "verify", folder, status=1)


@pytest.mark.offline_models
def test_names_of_files_are_shown_as_text(tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / f"{NAME}.md").write_text(f"# {EVIL}\n\nA boat costs 40.")
    (folder / f"b{NAME}.jsonl").write_text("{broken\n")
    build = ["build", folder, "--memory", tmp_path / "memory", "--encoder", "all-MiniLM-L6-v2"]
    assert "broken JSON" in looked_at("memgpt-index", *build, status=1)
    rejects = ["--rejects", tmp_path / "rejects", "--log", tmp_path / "log"]
    looked_at("memgpt-index", *build, *rejects, status=3, shows=False)
    for file in ("rejects", "log"):
        lines = (tmp_path / file).read_text(encoding="utf-8")
        assert "\x1b" not in lines and "\u202e" not in lines, "whoever looks at it sees text"
    assert json.loads((tmp_path / "rejects").read_text())["source"] == f"b{NAME}.jsonl"
    (folder / f"b{NAME}.jsonl").unlink()
    looked_at("memgpt-index", "plan", folder, "--encoder", "all-MiniLM-L6-v2", "--no-states", shows=False)
    looked_at("memgpt-index", *build, "--dry-run")
    looked_at("memgpt-index", "export", tmp_path / "memory", tmp_path / "out.jsonl", shows=False)
    exported = (tmp_path / "out.jsonl").read_text(encoding="utf-8")
    assert "\x1b" not in exported and json.loads(exported)["source"] == f"{NAME}.md", "exact, and safe to look at"


def test_tables_of_an_evaluation_are_text(tmp_path):
    evil = EVIL.replace("\n", " ").replace("\r", "").replace("\u2028", "")
    data, run = tmp_path / "data", tmp_path / "run.trec"
    (data / "qrels").mkdir(parents=True)
    (data / "corpus.jsonl").write_text(json.dumps({"_id": "d", "text": "x", "title": ""}))
    (data / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": evil}))
    (data / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    tag = evil.split(" ")[0]
    run.write_text(f"q Q0 d 1 1.0 {tag}\n", encoding="utf-8")
    output = tmp_path / "out"
    looked_at("memgpt-rag", "eval", "retrieval", data, "--run", run, "--output", output)
    for page in ("report.md", "report.html", "report.json"):
        assert "\x1b" not in (output / page).read_text(encoding="utf-8")
    assert json.loads((output / "report.json").read_text())["systems"][0]["name"] == tag


def parrot(folder: Path, said: str) -> Path:
    """A language model that writes one text, whatever it is asked: each byte of it calls for the next one."""
    tokenizer = byte_tokenizer()
    ids = tokenizer(f":{said}\n")["input_ids"]
    assert len(set(ids)) == len(ids), "a byte that comes twice would call for two"
    decoder = tiny_decoder("llama", 320, {"hidden_size": 320, "tie_word_embeddings": False})
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight", "lm_head.weight")):
                parameter.zero_()
        decoder.get_input_embeddings().weight.copy_(torch.eye(320))
        for before, after in pairwise(ids):
            decoder.lm_head.weight[after, before] = 1.0
    decoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.offline_models
def test_answers_and_citations_are_text(tmp_path, e5):
    """The answer comes in two parts, between which an escape sequence is split."""
    memory = write(tmp_path / "memory", e5, 0)
    model = parrot(tmp_path / "model", "40\x1b]5; c\x07\u202e\x9b1A")
    asked = ["ask", "--memory", memory, "--model", model, "-k", "1"]
    printed = looked_at("memgpt-rag", *asked, "What does a boat cost?")
    assert printed.startswith("40\\x1b]5; c\\x07\\u202e\\x9b1A\n  From the memory [1]: \\x1b]0;owned")
    assert "\n  [1]  100%  \\x1b]0;owned" in printed
    shown = looked_at("memgpt-rag", *asked, stdin=b"Boat?\nCaf\xe9?\nA kite?\n\nnot asked\n", status=1)
    assert shown.count("first token after") == 2, "a question that is no text ends nothing"
    assert "Question 2 is not utf-8 (byte 3); ask it in that." in shown
    assert "Error: 1 of 3 questions were not answered." in shown


PRINTING = {"echo", "secho", "print", "progressbar", "tqdm", "echo_via_pager"}


def test_only_the_console_prints():
    for path in [*ROOT.glob("memgpt_rag/**/*.py"), *ROOT.glob("indexing/**/*.py")]:
        if path.name == "console.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path}, line {getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Attribute):
                item = ast.unparse(node.value)
                assert not (item == "click" and node.attr in PRINTING), where
                assert not (item == "sys" and node.attr in ("stdout", "__stdout__", "__stderr__")), where
                assert not (item.startswith("sys.") and node.attr == "write"), where
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("print", "tqdm"), where
            if isinstance(node, ast.ImportFrom):
                assert not (node.module in ("click", "tqdm") and PRINTING & {one.name for one in node.names}), where


def test_the_text_of_an_evil_memory_is_what_it_was(memory):
    from memgpt_rag.memory import Memory

    (one, other) = Memory.open(memory).passages(np.arange(2))
    assert one.title == other.source == EVIL
