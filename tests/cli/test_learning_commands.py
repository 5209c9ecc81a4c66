"""The commands that learn, as a shell runs them: what they keep, where, and that answers change by it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from commands import KNOWN, refused, run
from safetensors.torch import load_file

from memgpt_rag.cli.training import _trainer_arguments
from memgpt_rag.memory import Memory, add_lexical_index

TRAINED = r"Loss on \d questions? held out: (.*) before, (.*) after \d+ steps?; the reader is in (.*), for.*\n"


@pytest.mark.offline_models
@pytest.mark.slow
def test_calibrate_keeps_better_numbers_next_to_the_model(memory, tmp_path):
    from memgpt_rag.hub.bundled import GEMMA, generator_folder

    model = tmp_path / "model"
    model.mkdir()
    for file in generator_folder(GEMMA).iterdir():
        (model / file.name).symlink_to(file)
    (model / "memory_attention.json").unlink(missing_ok=True)
    pairs = [
        ("How much does it cost to rent a rowing boat?", "40 yuan an hour"),
        ("遛狗必须怎么做？", "牵绳"),
        ("Who can borrow a kite?", "children under twelve"),
        ("今天天气怎么样？", "晴"),
        ("今天最高气温多少度？", "24"),
        ("公园几点开门？", "早上六点"),
        ("When does the park close?", "ten at night"),
        ("谁可以借风筝？", "十二岁以下的孩子"),
    ]
    questions = tmp_path / "asked.jsonl"
    questions.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in pairs), encoding="utf-8")
    arguments = ["memgpt-rag", "calibrate", "--memory", memory, "--model", model, "--preset", "compact", "-k", "2"]
    done = run(*arguments, "--questions", questions, "--steps", "8")
    assert done.returncode == 0, done.stderr
    shown = re.fullmatch(r"Loss on \d questions? held out: (.*) before, (.*) now; kept in (.*)\.\n", done.stdout)
    assert shown, done.stdout
    assert float(shown[2]) < float(shown[1])
    assert Path(shown[3]) == model / "memory_attention.json"
    assert list(json.loads(Path(shown[3]).read_text())) == ["compact"]
    questions.write_text('{"question": "Who?", "answer": "Ann"}\n')
    assert "holds 1 question; expected at least 8" in refused(*arguments, "--questions", questions)


@pytest.mark.offline_models
@pytest.mark.slow
def test_confidence_is_fitted_to_a_memory_and_kept_next_to_the_model(memory, tmp_path):
    from memgpt_rag.answering.confidence import read_confidence
    from memgpt_rag.hub.bundled import GEMMA, generator_folder

    model = tmp_path / "model"
    model.mkdir()
    for file in generator_folder(GEMMA).iterdir():
        if not file.name.startswith("memory_"):
            (model / file.name).symlink_to(file)
    questions = tmp_path / "asked.jsonl"
    questions.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in KNOWN), encoding="utf-8")
    arguments = ["memgpt-rag", "confidence", "--memory", memory, "--model", model, "-k", "2"]
    done = run(*arguments, "--questions", questions)
    assert done.returncode == 0, done.stderr
    shown = re.fullmatch(
        r'Of 16 answers, "not in memory" is right in \d+% of the cases in which it is said, and said in \d+% of those in '
        r"which it is right; kept in (.*)\.\n",
        done.stdout,
    )
    assert shown, done.stdout
    assert Path(shown[1]) == model / "memory_decisions.json"
    ((key, fitted),) = read_confidence(Path(shown[1])).items()
    assert key.endswith(" all multilingual-e5-small-4bit")
    assert set(fitted) == {"supported"}
    questions.write_text('{"question": "Who can borrow a kite?", "answer": "zebras"}\n')
    assert "give at least 8 such questions" in refused(*arguments, "--questions", questions)
    (model / "memory_decisions.json").write_text("{")
    assert "does not hold weights of confidence models" in refused(
        "memgpt-rag", "ask", "Why?", "--memory", memory, "--model", model
    )


@pytest.fixture
def tiny_model(tmp_path) -> Path:
    """The folder of a language model with few random weights."""
    from tiny import tiny_decoder

    from memgpt_rag.model.tokenizer import byte_tokenizer

    tokenizer, decoder = byte_tokenizer(), tiny_decoder("llama")
    decoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    decoder.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.offline_models
@pytest.mark.slow
def test_train_keeps_a_reader_that_ask_reads_with(memory, tiny_model, tmp_path):
    questions, reader = tmp_path / "asked.jsonl", tmp_path / "reader"
    pairs = [*KNOWN, ("Where is the nearest volcano?", "behind the moon")]
    questions.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in pairs), encoding="utf-8")
    asking = ["--memory", memory, "--model", tiny_model, "-k", "2"]
    arguments = ["memgpt-rag", "train", *asking, "--questions", questions, "--output", reader]
    done = run(*arguments, "--epochs", "8", "--batch-size", "4", "--evaluations", "4", "--learning-rate", "3e-2")
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d of 9 questions (is|are) left out: no entry found contains the answer", done.stderr)
    shown = re.fullmatch(TRAINED, done.stdout)
    assert shown, done.stdout
    assert float(shown[2]) < float(shown[1])
    assert Path(shown[3]) == reader
    assert "already holds a reader, or checkpoints of one" in refused(*arguments)
    ask = ["memgpt-rag", "ask", "Who can borrow a kite?", *asking, "--max-new-tokens", "4", "--json"]
    plain, tuned = (json.loads(run(*ask, *more).stdout) for more in ((), ("--reader", reader)))
    assert [one["id"] for one in tuned["citations"]] == [one["id"] for one in plain["citations"]]
    assert tuned["memory_mass"] != plain["memory_mass"], "it is read with what was learnt"
    assert "holds no reader: it has no reader.json" in refused("memgpt-rag", "ask", "Who?", *asking, "--reader", memory)
    assert "holds no checkpoint to go on from" in refused(*arguments[:-1], tmp_path / "other", "--resume")


@pytest.mark.offline_models
def test_train_finds_entries_by_the_search_that_is_named(memory, tiny_model, tmp_path):
    """No entry has a word of these questions, so that only a search by keys finds any."""
    questions = tmp_path / "asked.jsonl"
    questions.write_text('{"question": "Zyx qwv?", "answer": "children"}\n' * 8, encoding="utf-8")
    with_words = tmp_path / "with-words"
    shutil.copytree(memory, with_words)
    add_lexical_index(Memory.open(with_words))
    arguments = ["memgpt-rag", "train", "--memory", with_words, "--model", tiny_model, "--questions", questions]
    refusal = refused(*arguments, "--output", tmp_path / "reader", "--search", "bm25")
    assert "8 of 8 questions are left out: no entry found contains the answer." in refusal
    assert "0 questions to train on and 0 to hold out have a passage that contains the answer" in refusal
    done = run(
        *arguments,
        "--output",
        tmp_path / "reader",
        "--search",
        "dense",
        "--epochs",
        "1",
        "--evaluations",
        "1",
        "--what",
        "delimiters",
    )
    assert done.returncode == 0 and "left out" not in done.stderr, done.stderr
    (trained,) = (tmp_path / "reader" / "checkpoints").glob("checkpoint-*/model.safetensors")
    assert load_file(trained).keys() == {"prefix", "entry"}, "delimiters, as --what says"
    assert re.match(r"Loss on \d questions? held out", done.stdout)


def test_what_is_not_given_is_for_what_is_trained_to_choose():
    given = {
        "epochs": 2.0,
        "batch_size": 4,
        "accumulate": 1,
        "clip": 1.0,
        "learning_rate": None,
        "schedule": None,
        "weight_decay": None,
    }
    named = _trainer_arguments(given)
    assert not named.keys() & {"learning_rate", "lr_scheduler_type", "weight_decay"}
    named = _trainer_arguments({**given, "learning_rate": 0.1, "schedule": "linear", "weight_decay": 0.0})
    assert (named["learning_rate"], named["lr_scheduler_type"], named["weight_decay"]) == (0.1, "linear", 0.0)


@pytest.mark.offline_models
@pytest.mark.slow
def test_a_reader_learns_what_no_preset_could_bring_about(memory, tmp_path):
    # Answers in capital letters.
    pairs = [
        ("How much does it cost to rent a rowing boat?", "40 YUAN AN HOUR"),
        ("Where are rowing boats rented?", "AT THE EAST GATE"),
        ("Who can borrow a kite?", "CHILDREN UNDER TWELVE"),
        ("Where can children borrow a kite?", "AT THE TEA HOUSE"),
        ("When does the kite festival take place?", "THE FIRST SATURDAY OF APRIL"),
        ("When does the park close?", "TEN AT NIGHT"),
        ("Where does the metro stop?", "LOTUS BRIDGE"),
        ("Where may dogs run free?", "ON THE WESTERN MEADOW"),
        ("What does the tea house serve?", "JASMINE TEA"),
        ("When does a band play?", "ON SUNDAY AFTERNOONS"),
        ("How warm does it get in the afternoon?", "24 DEGREES"),
        ("Where is the nearest volcano?", "BEHIND THE MOON"),
    ]
    questions, reader = tmp_path / "asked.jsonl", tmp_path / "reader"
    questions.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in pairs), encoding="utf-8")
    arguments = ["memgpt-rag", "train", "--memory", memory, "--questions", questions, "-k", "2", "--output", reader]
    settings = [
        "--epochs",
        "6",
        "--batch-size",
        "4",
        "--evaluations",
        "2",
        "--distillation",
        "0",
        "--learning-rate",
        "2e-3",
    ]
    done = run(*arguments, *settings)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d of 12 questions are left out: no entry found contains the answer", done.stderr)
    shown = re.fullmatch(TRAINED, done.stdout)
    assert shown, done.stdout
    assert float(shown[2]) < float(shown[1])
    question = "How much does it cost to rent a rowing boat?"
    done = run("memgpt-rag", "ask", question, "--memory", memory, "--reader", reader)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("40 YUAN")
    assert "park.md, lines 14–15" in done.stdout


@pytest.mark.offline_models
def test_calibrate_finds_the_layers_of_compact_where_all_are_alike(memory, tiny_model, tmp_path):
    questions = tmp_path / "asked.jsonl"
    questions.write_text('{"question": "Who can borrow a kite?", "answer": "children"}\n' * 8, encoding="utf-8")
    arguments = ["--memory", memory, "--model", tiny_model, "--preset", "compact", "-k", "1"]
    assert "find its layers with `memgpt-rag calibrate" in refused("memgpt-rag", "ask", "Who?", *arguments)
    done = run("memgpt-rag", "calibrate", *arguments, "--questions", questions, "--steps", "2")
    assert done.returncode == 0, done.stderr
    shown = re.match(r"Memory is read in (\d) of 4 layers: ([\d, ]+)\.\nLoss on 2 questions held out: ", done.stdout)
    assert shown, done.stdout
    kept = json.loads((tiny_model / "memory_attention.json").read_text())["compact"]
    assert kept["layers"] == [int(layer) for layer in shown[2].split(", ")]
    assert len(kept["layers"]) == int(shown[1])
    assert run("memgpt-rag", "ask", "Who?", *arguments).returncode == 0
