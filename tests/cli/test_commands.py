"""Both commands as a shell runs them: what they print, where, and with which exit status."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import COMMANDS, KNOWLEDGE, refused, run, run_in_shell
from conftest import ROOT
from hashing import HashEncoder

from memgpt_rag.memory import Memory


@pytest.mark.parametrize(
    "arguments",
    [
        ["memgpt-index"],
        ["memgpt-index", "build"],
        ["memgpt-index", "states"],
        ["memgpt-rag"],
        ["memgpt-rag", "ask"],
        ["memgpt-rag", "calibrate"],
        ["memgpt-rag", "confidence"],
        ["memgpt-rag", "eval"],
        ["memgpt-rag", "eval", "answers"],
        ["memgpt-rag", "eval", "retrieval"],
        ["memgpt-rag", "info"],
        ["memgpt-rag", "pretrain"],
        ["memgpt-rag", "train"],
    ],
)
def test_help_answers_without_heavy_imports(arguments):
    code = (
        f"import sys; sys.argv = {[*arguments, '--help']!r}\nfrom {COMMANDS[arguments[0]]} import main\n"
        "try: main()\nexcept SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'faiss', 'pyarrow', 'numpy', 'pypdfium2', 'docx', 'lxml'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: {arguments[0]}")


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["memgpt-index", "build", "x"], "Missing option '--memory'"),
        (["memgpt-index", "build", "--memory", "m"], "Missing argument 'SOURCE…'"),
        (["memgpt-index", "build", "x", "--memory", "m", "--max-tokens", "3"], "3 is not in the range 8<=x<=4096"),
        (
            ["memgpt-index", "build", "x", "--memory", "m", "--encoding", "utf-99"],
            "'utf-99' is no character encoding; name one such as utf-8 or gb18030",
        ),
        (
            ["memgpt-index", "build", "x", "--memory", "m", "--delimiter", "=>"],
            "'=>' is no delimiter; name one character such as ';', or tab",
        ),
        (
            ["memgpt-index", "states", "m", "--dtype", "int3"],
            "'int3' is not one of 'int8', 'int4', 'fp16', 'bf16', 'fp32'",
        ),
        (["memgpt-rag", "ask", "why"], "Missing option '--memory'"),
        (
            ["memgpt-rag", "ask", "why", "--memory", "m", "--mode", "magic"],
            "'magic' is not one of 'memory', 'prompt', 'closed_book'",
        ),
        (["memgpt-rag", "ask", " ", "--memory", "m"], "QUESTION is empty; ask something"),
        (
            ["memgpt-rag", "ask", "why", "--memory", "m", "--use-memory", "no"],
            "'no' is not one of 'always', 'never', 'auto'",
        ),
        (
            ["memgpt-rag", "ask", "why", "--memory", "m", "--abstain", "--mode", "prompt"],
            "--use-memory auto, --abstain and --retrieve-every need --mode memory, and the latter two a memory that is read",
        ),
        (
            ["memgpt-rag", "ask", "why", "--memory", "m", "--retrieve-every", "8", "--use-memory", "never"],
            "--use-memory auto, --abstain and --retrieve-every need --mode memory, and the latter two a memory that is read",
        ),
        (
            ["memgpt-rag", "ask", "why", "--memory", "m", "--retrieve-every", "0"],
            "0 is not in the range 1<=x<=4096",
        ),
    ],
)
def test_wrong_usage_exits_with_two(arguments, sentence):
    assert sentence in refused(*arguments, status=2)


def test_sources_that_are_wrong_are_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.jsonl").write_text('{"text": "fine"}\n{"text": \n')
    memory = tmp_path / "memory"
    assert refused("memgpt-index", "build", tmp_path / "gone", "--memory", memory).endswith(
        "gone does not exist; name a file or a folder of documents.\n"
    )
    assert refused("memgpt-index", "build", tmp_path / "empty", "--memory", memory).endswith(
        "empty holds no documents to read; put files there, or name another source.\n"
    )
    assert not memory.exists()


@pytest.mark.offline_models
def test_a_broken_line_is_named_and_nothing_is_written(tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"text": "fine"}\n{"text": \n')
    sentence = refused("memgpt-index", "build", tmp_path / "bad.jsonl", "--memory", tmp_path / "memory")
    assert sentence.startswith("Error: bad.jsonl, line 2: broken JSON")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.jsonl"]


def test_an_encoder_that_is_nowhere_is_one_sentence(tmp_path):
    sentence = refused("memgpt-index", "build", KNOWLEDGE, "--memory", tmp_path / "m", "--encoder", "no/such-encoder")
    assert sentence.startswith("Error: No embedding model 'no/such-encoder': it is no folder here")
    assert sentence.count("\n") == 1


def test_a_folder_that_is_no_memory_is_one_sentence(tmp_path):
    for command in (
        ["memgpt-rag", "ask", "why", "--memory", tmp_path],
        ["memgpt-rag", "info", tmp_path],
        ["memgpt-index", "states", tmp_path],
    ):
        assert (
            refused(*command)
            == f"Error: {tmp_path} is not a memory: it has no manifest.json; name a folder that memgpt-index build wrote.\n"
        )


def test_a_picture_that_is_none_is_one_sentence_before_a_model_is_loaded(tmp_path):
    Memory.create(tmp_path / "memory", ["A boat costs 40 yuan."], HashEncoder())
    (tmp_path / "words.png").write_text("no picture")
    asked = ["memgpt-rag", "ask", "What is this?", "--memory", tmp_path / "memory", "--model", tmp_path / "no-model"]
    missing = refused(*asked, "--picture", tmp_path / "none.png")
    assert missing.endswith("none.png cannot be read: No such file or directory; name a picture that is there.\n")
    assert "words.png" in refused(*asked, "--picture", tmp_path / "words.png")


def test_a_fault_of_our_own_is_one_sentence_too(tmp_path):
    code = (
        "import click\nfrom memgpt_rag.io.console import SentenceGroup\n"
        "@click.group(cls=SentenceGroup)\ndef main(): pass\n"
        "@main.command()\ndef fail(): raise KeyError('lost')\nmain(['fail'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "Error: KeyError: 'lost'. This is a fault of memgpt_rag, not of your input; run again with MEMGPT_RAG_DEBUG=1"
    )
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def memory(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("commands") / "memory"
    done = run("memgpt-index", "build", KNOWLEDGE, "--memory", folder, "--generator", "gemma-3-270m-4bit")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Read 3 files: 6 documents, ")
    assert "dropped 0 exact and 0 near duplicates" in done.stdout
    return folder


@pytest.mark.offline_models
def test_a_dry_run_says_what_a_build_would_do_and_writes_nothing(tmp_path, memory):
    done = run(
        "memgpt-index", "build", KNOWLEDGE, "--memory", tmp_path / "m", "--generator", "gemma-3-270m-4bit", "--dry-run"
    )
    assert done.returncode == 0, done.stderr
    (segment,) = json.loads((memory / "manifest.json").read_text())["segments"]
    entries = segment["entries"]
    assert f"{entries} entries of 384 numbers each." in done.stdout
    assert "jsonl        " in done.stdout
    assert "Would take 1" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.offline_models
def test_a_memory_is_not_built_over_in_another_way_unasked(memory):
    shown = refused("memgpt-index", "build", KNOWLEDGE, "--memory", memory)
    assert "was built in another way: tokenizer 'gemma-3-270m-4bit' against 'multilingual-e5-small-4bit'" in shown
    assert "Build it in the same way, or all anew with --replace" in shown


@pytest.mark.offline_models
@pytest.mark.slow
def test_a_plan_tells_sizes_and_times_and_writes_nothing(tmp_path):
    done = run("memgpt-index", "plan", KNOWLEDGE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = {line[:18].strip(): line[18:].split() for line in done.stdout.splitlines()[1:]}
    state_rows = ["states, quality", "states, compact"]
    assert list(rows) == ["values", "keys", "journal", "search", "lexical", *state_rows, "memory", "all"]
    quality, compact = (float(rows[f"states, {preset}"][0]) for preset in ("quality", "compact"))
    unit = {"MB": 1.0, "kB": 0.001}
    quality, compact = quality * unit[rows["states, quality"][1]], compact * unit[rows["states, compact"][1]]
    assert quality / compact == pytest.approx(6, rel=0.05), "states of 18 layers and of 3"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.offline_models
def test_info_says_what_a_memory_holds(memory):
    printed = run("memgpt-rag", "info", memory).stdout
    for words in (
        "entries   ",
        "at most 160 tokens of gemma-3-270m-4bit",
        "multilingual-e5-small-4bit, 384 numbers, unit length",
        "'query: ' before a query",
        "exact, cosine",
    ):
        assert words in printed


@pytest.mark.offline_models
@pytest.mark.slow
def test_a_build_stores_states_where_it_is_asked_to(tmp_path):
    memory = tmp_path / "memory"
    done = run("memgpt-index", "build", KNOWLEDGE / "weather.txt", "--memory", memory, "--states", "compact")
    assert done.returncode == 0, done.stderr
    stored = re.search(r"^Stored the states of (\d+) entr(?:y|ies) for gemma-3-270m-4bit", done.stdout, re.MULTILINE)
    assert stored, done.stdout
    shown = run("memgpt-rag", "info", memory).stdout
    assert f"entries   {stored[1]}," in shown
    assert "int8, 3 layers of gemma-3-270m-4bit" in shown
    assert "read with the preset that they were computed for, or compute the missing ones" in refused(
        "memgpt-rag", "ask", "今天天气怎么样？", "--memory", memory
    )


@pytest.mark.offline_models
@pytest.mark.slow
def test_ask_answers_and_cites(memory):
    done = run_in_shell("memgpt-rag", "ask", "How much does it cost to rent a rowing boat?", "--memory", memory)
    assert done.returncode == 0, done.stderr
    first, quote, *rest = done.stdout.splitlines()
    assert first.startswith("40 yuan")
    assert quote == "  From the memory [1]: Rowing boats are rented at the east gate for 40 yuan an hour."
    assert "park.md, lines 14–15" in rest[0]
    assert rest[0].startswith("  [1]")
    assert "%" in rest[0]
    assert rest[-1].startswith("  first token after ")


@pytest.mark.offline_models
@pytest.mark.slow
def test_ask_says_what_is_not_in_memory_and_leaves_the_memory_out_of_small_talk(memory):
    asked = "Who can borrow a kite?\nWho won the 1998 World Cup?\n"
    short = ["--memory", memory, "--abstain", "--max-new-tokens", "24"]
    marked = run("memgpt-rag", "ask", *short, stdin=asked).stdout
    supported, unsupported = re.findall(r"^  confidence \d+ %(.*)$", marked.replace("%", " %"), re.MULTILINE)
    assert supported == ""
    assert unsupported == ": probably not in memory"
    assert marked.startswith("children under twelve")
    assert marked.splitlines().count("not in memory") == 1
    auto = run("memgpt-rag", "ask", *short, "--use-memory", "auto", stdin=f"{asked}谁发明了电话？\n谢谢你！\n")
    assert auto.returncode == 0, auto.stderr
    kite, cup, telephone, thanks, rest = auto.stdout.split("  first token after ")
    assert kite.startswith("children under twelve")
    assert "  [1]" in kite
    for unread in (cup, telephone, thanks):
        assert "  [1]" not in unread, "what is not like the memory at all is answered without it"
        assert "confidence" not in unread
    assert "\n" not in rest.rstrip()


@pytest.mark.offline_models
@pytest.mark.slow
def test_ask_without_a_question_goes_on_until_an_empty_line(memory):
    done = run(
        "memgpt-rag",
        "ask",
        "--memory",
        memory,
        "--mode",
        "prompt",
        stdin="今天最高气温多少度？\nHow much does it cost to rent a rowing boat?\n\nnever asked\n",
    )
    assert done.returncode == 0, done.stderr
    assert "24" in done.stdout.splitlines()[0]
    assert "40 yuan" in done.stdout
    assert done.stdout.count("first token after") == 2
    assert "%" not in done.stdout, "a prompt cannot tell shares"


@pytest.mark.offline_models
def test_the_demo_answers_its_questions_and_cites_the_right_entry(memory):
    questions = (ROOT / "examples" / "questions.txt").read_text(encoding="utf-8")
    done = run("memgpt-rag", "ask", "--memory", memory, stdin=questions)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    answers = [(lines[at - 1], line) for at, line in enumerate(lines) if line.startswith("  [1]")]
    expected = [
        ("40 yuan", "park.md, lines 14–15"),
        ("晴", "weather.txt"),
        ("划船", "park.md, lines 19–20"),
        ("in the morning", "park.md, lines 5–6"),
        ("under twelve", "notices.jsonl, line 1 "),
        ("牵绳", "notices.jsonl, line 4 "),
    ]
    assert len(answers) == len(questions.splitlines()) == len(expected)
    for (answer, citation), (words, place) in zip(answers, expected, strict=True):
        assert words in answer
        assert place in citation
