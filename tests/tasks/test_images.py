"""Pairs read from files, and searches in three directions, against arithmetic by hand."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import ROOT
from hashing import HashEncoder
from pictures import ColorEncoder, bomb, pairs_file, png

from memgpt_rag.cli.main import main
from memgpt_rag.errors import MismatchError, SourceError
from memgpt_rag.memory import Memory
from memgpt_rag.memory.pictures import add_pictures
from memgpt_rag.retrieval.retriever import Retriever
from memgpt_rag.tasks.images.pairs import pair_entries, read_pairs
from memgpt_rag.tasks.images.search import PictureSearch

TEXTS = {"red": ["a red thing", "红色"], "green": ["green it is"], "blue": ["the blue one", "blue again"]}


@pytest.fixture
def search(tmp_path) -> PictureSearch:
    encoder = ColorEncoder()
    memory = add_pictures(tmp_path / "m", pair_entries(read_pairs(pairs_file(tmp_path, **TEXTS))), encoder)
    return PictureSearch(memory, encoder)


def test_pairs_become_entries_with_their_texts_and_places(tmp_path):
    pairs = read_pairs(pairs_file(tmp_path, **TEXTS))
    assert [(one.image, one.texts, one.where) for one in pairs] == [
        (f"{color}.png", tuple(texts), f"pairs.jsonl, line {number}")
        for number, (color, texts) in enumerate(TEXTS.items(), 1)
    ]
    passage, picture = pairs[0].entry()
    assert (passage.text, passage.source, passage.place) == ("a red thing\n红色", "red.png", "red.png, picture 1")
    assert picture == pairs[0].read() and picture.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no JSON", r"pairs.jsonl, line 1: broken JSON .*; expected an object with an \"image\""),
        ("[]", "pairs.jsonl, line 1: no object; expected an object"),
        ('{"text": "a"}', "pairs.jsonl, line 1: its image is missing"),
        ('{"image": "a.png"}', "pairs.jsonl, line 1: its text is missing"),
        ('{"image": "a.png", "text": []}', r"pairs.jsonl, line 1: its text is \[\]"),
        ('{"image": "a.png", "text": ["", "b"]}', "pairs.jsonl, line 1: its text is empty"),
        ('{"image": "a.png", "text": "b"}\n{"image": "a.png", "text": "c"}', "line 2: a.png is in pairs.jsonl, line 1 already; give all texts"),
        ('{"image": "/etc/hostname", "text": "b"}', "line 1: /etc/hostname lies outside of the folder"),
        ('{"image": "../a.png", "text": "b"}', "line 1: ../a.png lies outside of the folder"),
        ('{"image": "link.png", "text": "b"}', "line 1: link.png lies outside of the folder"),
        ("", "pairs.jsonl holds no pair; expected"),
    ],
)  # fmt: skip
def test_a_broken_file_of_pairs_stops_with_its_line(tmp_path, line, message):
    folder = tmp_path / "pairs"
    folder.mkdir()
    (tmp_path / "outside.png").write_bytes(png())
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    (folder / "pairs.jsonl").write_text(line, encoding="utf-8")
    with pytest.raises(SourceError, match=message):
        read_pairs(folder / "pairs.jsonl")


def test_a_picture_that_is_none_and_a_bomb_stop_with_their_line(tmp_path):
    path = pairs_file(tmp_path, red="a", green="b")
    for content, message in (
        (b"text", "cannot be read as a picture: it is none"),
        (bomb(), r"10,?000,?000,?000 pixels"),
    ):
        (tmp_path / "green.png").write_bytes(content)
        with pytest.raises(SourceError, match=rf"^pairs.jsonl, line 2: green.png .*{message}"):
            add_pictures(tmp_path / "m", pair_entries(read_pairs(path)), ColorEncoder())
        assert not (tmp_path / "m").exists()


def test_texts_find_pictures_and_pictures_find_pictures(search):
    encoder = search.encoder
    colors = encoder.encode_passages(list(TEXTS))
    found = search.by_texts(["red", "blue again"], 3)
    for query, results in zip(("red", "blue again"), found, strict=True):
        scores = encoder.encode_queries([query])[0] @ colors.T
        assert [one.score for one in results] == pytest.approx(sorted(scores.tolist(), reverse=True), abs=1e-6)
    assert [results[0].passage.source for results in found] == ["red.png", "blue.png"]
    (alike,) = search.by_pictures([png("green", (200, 50))], 1)
    assert (alike[0].passage.source, alike[0].score, alike[0].text) == ("green.png", pytest.approx(1), "green it is")


def test_questions_find_pictures_as_they_find_texts(search):
    (found,) = Retriever(search.memory, search.encoder).retrieve(["green"], 1)
    assert [(one.passage.source, one.score) for one in found] == [("green.png", pytest.approx(1))]


def test_a_picture_finds_words_by_what_they_say(search):
    (found,) = search.words([png("blue")], 5)
    texts = [text for some in TEXTS.values() for text in some]
    scores = search.encoder.encode_passages(["blue"])[0] @ search.encoder.encode_passages(texts).T
    order = np.argsort(-scores, kind="stable")
    assert [one.text for one in found] == [texts[place] for place in order]
    assert [one.score for one in found] == pytest.approx(scores[order].tolist(), abs=1e-6)
    assert {one.text: one.passage.source for one in found} == {
        text: f"{color}.png" for color, some in TEXTS.items() for text in some
    }


def test_a_memory_of_texts_is_no_memory_of_pictures(tmp_path):
    Memory.create(tmp_path / "m", ["red"], HashEncoder())
    with pytest.raises(MismatchError, match=r"The keys of .*m are of texts, .*memgpt-rag images build"):
        PictureSearch(Memory.open(tmp_path / "m"), ColorEncoder())


def test_wrong_usage_is_reported_before_a_model_is_loaded(tmp_path):
    Memory.create(tmp_path / "m", ["red"], HashEncoder())
    run, memory, pairs = CliRunner(), ["--memory", str(tmp_path / "m")], str(pairs_file(tmp_path, **TEXTS))
    for arguments, status, message in (
        (["search", *memory], 2, "Give a TEXT to search by, or --picture FILE"),
        (["search", "red", "--words", *memory], 2, "--words is for searches by --picture"),
        (["search", "red", *memory], 1, "are of texts"),
        (["build", str(tmp_path / "none.jsonl"), *memory, "--encoder", "x"], 1, "none.jsonl cannot be read"),
        (["train", str(tmp_path / "none.jsonl"), "--output", str(tmp_path / "e")], 1, "none.jsonl cannot be read"),
        (["train", pairs, "--output", pairs], 1, "pairs.jsonl is a file; name a folder for the encoder."),
        (
            ["train", pairs, "--output", str(tmp_path / "m")],
            1,
            "m holds something else than an encoder; name another folder.",
        ),
        (["train", pairs, "--output", str(tmp_path / "m"), "--replace"], 1, "m holds something else than an encoder"),
        (
            ["train", pairs, "--output", str(tmp_path / "e")],
            1,
            "pairs.jsonl has 3 pictures; expected at least 8 to train on.",
        ),
    ):
        result = run.invoke(main, ["images", *arguments])
        assert (result.exit_code, message in result.output) == (status, True), result.output


@pytest.mark.offline_models
def test_the_commands_train_build_and_search(tmp_path):
    run, encoder, memory = CliRunner(), str(tmp_path / "encoder"), str(tmp_path / "m")
    shutil.copytree(ROOT / "examples" / "images", tmp_path / "images")
    lines = (tmp_path / "images" / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "images" / "some.jsonl").write_text("\n".join(lines[:12]), encoding="utf-8")
    pairs = str(tmp_path / "images" / "some.jsonl")

    def shown(*arguments: str) -> str:
        result = run.invoke(main, ["images", *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    assert "Of 12 that it was trained on" in shown("train", pairs, "--output", encoder, "--epochs", "4", "--no-cache")
    again = run.invoke(main, ["images", "train", pairs, "--output", encoder])
    assert (again.exit_code, "holds an encoder; name another folder, or replace it" in again.output) == (1, True)
    shown("train", pairs, "--output", encoder, "--epochs", "4", "--no-cache", "--replace")
    assert shown("build", pairs, "--memory", memory, "--encoder", encoder) == f"12 pictures in {memory}, version 1.\n"
    name = ["--memory", memory, "--encoder", encoder]
    ring = str(ROOT / "examples" / "images" / "shapes" / "green-ring.png")
    alike = json.loads(shown("search", "--picture", ring, *name, "-k", "1", "--json"))
    assert (alike["place"], alike["text"]) == ("shapes/green-ring.png, picture 1", "a green ring") and alike[
        "score"
    ] > 0.999
    lines = shown("search", "一个红色的圆形", *name, "-k", "3").splitlines()
    assert len(lines) == 3 and all(line.count("\t") == 2 for line in lines)
    assert len(shown("search", "--picture", ring, "--words", *name, "-k", "4").splitlines()) == 4
    refused = run.invoke(main, ["images", "search", "red", "--memory", memory])
    assert refused.exit_code == 1 and "a memory alone cannot choose what is loaded here" in refused.output
