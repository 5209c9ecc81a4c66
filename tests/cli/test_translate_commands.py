"""memgpt-rag translate: files become a memory, sentences are translated and measured, and mistakes are reported in a sentence."""

from __future__ import annotations

import json

import pytest
from commands import run
from conftest import ROOT
from served import saved_models

from memgpt_rag.memory import Memory
from memgpt_rag.tasks.translation import translator

PAIRS = "en\tzh\na red boat\t红船\na wide lake\t宽湖\na red boat\t红船\n"


@pytest.fixture(autouse=True)
def short_translations(monkeypatch):
    monkeypatch.setattr(translator, "_TOKENS_PER_TOKEN", 0)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return saved_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, models):
    """A folder with pairs, a glossary and a memory."""
    folder = tmp_path_factory.mktemp("translate")
    (folder / "pairs.tsv").write_text(PAIRS)
    (folder / "more.jsonl").write_text('{"en": "the sun", "zh": "太阳"}\n')
    (folder / "glossary.csv").write_text("en,zh\nlake,湖泊\n")
    done = run(
        "memgpt-rag", "translate", "build", "pairs.tsv", "more.jsonl", "--memory", "pairs", *models[2:], cwd=folder
    )
    assert (done.returncode, done.stdout) == (0, "3 pairs, 6 entries; 1 pair that was there already left out.\n"), (
        done.stderr
    )
    return folder


def failed(*arguments, cwd, code=1):
    done = run("memgpt-rag", "translate", *arguments, cwd=cwd)
    assert (done.returncode, done.stdout) == (code, "")
    return done.stderr


def test_a_memory_of_pairs_is_replaced_where_that_is_asked_for(folder, models):
    build = ["build", "more.jsonl", "--memory", "other"]
    for replace in ([], ["--replace"]):
        done = run("memgpt-rag", "translate", *build, *replace, *models[2:], cwd=folder)
        assert (done.returncode, done.stdout) == (0, "1 pair, 2 entries.\n"), done.stderr
    shown = failed(*build, "--encoder", "no-such-encoder", cwd=folder)
    assert "other holds a memory; name another folder, or replace it (--replace" in shown


def test_what_the_memory_holds_word_for_word_needs_no_model(folder):
    nowhere = ["--model", "no-such-model", "--encoder", "no-such-encoder"]
    done = run("memgpt-rag", "translate", "text", "宽湖", "the sun", "--memory", "pairs", *nowhere, cwd=folder)
    assert done.stdout.splitlines()[::2] == ["a wide lake", "太阳"]
    for texts, shown in ((["a red lake"], "no-such-encoder"), (["the sun", "--to", "de"], "'de' was asked for")):
        done = run("memgpt-rag", "translate", "text", *texts, "--memory", "pairs", *nowhere, cwd=folder)
        assert (done.returncode, shown in done.stderr) == (1, True), done.stderr


def test_a_translation_stands_above_the_pairs_that_it_leaned_on(folder, models):
    done = run(
        "memgpt-rag", "translate", "text", "a red lake", "宽湖", "--memory", "pairs", "-k", "2", *models, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    *_, first, second, exact, place = done.stdout.split("\n")[:-1]
    assert (exact, place) == ("a wide lake", "  in the memory  pairs.tsv, line 3")
    shares = [int(line.split("%")[0]) for line in (first, second)]
    assert shares == sorted(shares, reverse=True) and sum(shares) in (99, 100, 101)
    assert any(line.endswith("a red boat → 红船 — pairs.tsv, line 2") for line in (first, second))


def test_json_has_pairs_and_terms_and_a_missing_term_is_reported(folder, models):
    asked = ["a wide lake", "a red lake"]
    (folder / "texts.txt").write_text("\n".join(asked))
    options = ["--input", "texts.txt", "--glossary", "glossary.csv", "--json", "--memory", "pairs", *models]
    done = run("memgpt-rag", "translate", "text", *options, cwd=folder)
    exact, placed = map(json.loads, done.stdout.splitlines())
    assert (exact["text"], exact["translation"], exact["exact"]) == ("a wide lake", "宽湖", True)
    assert exact["terms"] == [{"term": "lake", "translations": ["湖泊"], "respected": False}]
    assert done.stderr.splitlines()[-1] == "The translation of 'a wide lake' lacks '湖泊' for the term 'lake'."
    assert "湖泊" in placed["translation"] and placed["terms"][0]["respected"]
    assert {"id", "text", "translation", "place", "score", "share"} == set(placed["pairs"][0])


def test_translations_are_measured_beside_the_best_hit(folder, models):
    pytest.importorskip("sacrebleu", reason="sacrebleu measures translations")
    done = run("memgpt-rag", "translate", "score", "pairs.tsv", "--to", "zh", "--memory", "pairs", *models, cwd=folder)
    title, memory, hit = done.stdout.splitlines()
    assert title == "en to zh: 3 texts, 3 of them in the memory"
    assert memory.split() == ["memory", "chrF", "100.0", "BLEU", "100.0"] and hit.split()[2:] == memory.split()[1:]


def test_the_example_is_a_translation_memory(models, tmp_path):
    example = ROOT / "examples" / "translate" / "park.tmx"
    done = run("memgpt-rag", "translate", "build", example, "--memory", "park", *models[2:], cwd=tmp_path)
    assert done.stdout == "18 pairs, 36 entries.\n", done.stderr
    memory = Memory.open(tmp_path / "park")
    assert memory.passages([1])[0].metadata["translation"] == "The park opens at six in the morning."


def test_mistakes_are_reported_before_a_model_is_loaded(folder):
    (folder / "broken.tmx").write_text("<tmx><body><tu>")
    assert "broken.tmx, line 1: broken XML" in failed("build", "broken.tmx", "--memory", "new", cwd=folder)
    (folder / "empty.tmx").write_bytes(b"")
    assert "empty.tmx is empty; export the pairs again, as TMX." in failed(
        "build", "empty.tmx", "--memory", "new", cwd=folder
    )
    assert "expected one 'de'" in failed("build", "pairs.tsv", "--languages", "en", "de", "--memory", "new", cwd=folder)
    assert not (folder / "new").exists()
    assert "Text 2 is empty; give words to translate" in failed(
        "text", "a", " ", "--memory", "pairs", cwd=folder, code=2
    )
    assert "There are no texts" in failed("text", "--memory", "pairs", cwd=folder, code=2)
    assert "nowhere does not exist" in failed("text", "a", "--memory", "nowhere", cwd=folder)
    assert "nowhere.tsv cannot be read" in failed(
        "text", "a", "--memory", "pairs", "--glossary", "nowhere.tsv", cwd=folder
    )
    assert "--to is de, and the pairs are in en and zh" in failed(
        "score", "pairs.tsv", "--to", "de", "--memory", "pairs", cwd=folder, code=2
    )


def test_what_does_not_fit_the_memory_is_reported(folder, models):
    shown = failed("text", "a", "--to", "fr", "--memory", "pairs", *models, cwd=folder)
    assert "are in en and zh, and 'fr' was asked for; name one of these." in shown
    shown = failed("build", "pairs.tsv", "--memory", "pairs", *models[2:], cwd=folder)
    assert "holds a memory" in shown
