"""memgpt-rag classify: examples become a classifier, texts are classified and measured, and mistakes are reported in a sentence."""

from __future__ import annotations

import json

import pytest
from commands import run
from served import saved_models

from memgpt_rag.memory import Memory

EXAMPLES = "text,label\na good film,1\na very good movie,1\na bad film,0\na very bad movie,0\n"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return saved_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, models):
    """A folder with examples and the classifier that was made of them."""
    folder = tmp_path_factory.mktemp("classify")
    (folder / "films.csv").write_text(EXAMPLES)
    words = ["--words", "1=good", "--words", "0=bad"]
    done = run(
        "memgpt-rag", "classify", "fit", "films.csv", "--memory", "films", "-k", "2", *words, *models, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "4 examples of 2 labels."
    assert lines[2] == "Written: films.classifier.json, beside the memory."
    return folder


def failed(*arguments, cwd, code=1):
    done = run("memgpt-rag", "classify", *arguments, cwd=cwd)
    assert (done.returncode, done.stdout) == (code, "")
    return done.stderr


def test_a_classifier_that_is_there_is_replaced_where_that_is_asked_for(folder, models):
    again = ["fit", "films.csv", "--memory", "others", "-k", "2", "--fit-on", "0"]
    for replace in ([], ["--replace"]):
        done = run("memgpt-rag", "classify", *again, *replace, *models, cwd=folder)
        assert done.returncode == 0, done.stderr
    nowhere = ["--model", "no-such-model", "--encoder", "no-such-encoder"]  # neither is loaded
    assert "others holds a memory; name another folder, or replace it (--replace" in failed(
        *again, *nowhere, cwd=folder
    )
    shown = failed("fit", "--memory", "others", "--replace", cwd=folder, code=2)
    assert "--replace is for EXAMPLES, which become a memory" in shown


def test_texts_come_from_arguments_a_file_and_standard_input(folder, models):
    texts = ["good fun", "bad", "so so"]
    (folder / "texts.txt").write_text("\n\n".join(texts))
    asked = [*models, "--memory", "films"]
    by_arguments = run("memgpt-rag", "classify", "predict", *texts, *asked, cwd=folder)
    by_file = run("memgpt-rag", "classify", "predict", "--input", "texts.txt", *asked, cwd=folder)
    by_stdin = run("memgpt-rag", "classify", "predict", *asked, stdin="\n".join(texts), cwd=folder)
    assert by_arguments.stdout == by_file.stdout == by_stdin.stdout
    rows = [line.split("\t") for line in by_arguments.stdout.splitlines()]
    assert [row[2] for row in rows] == texts
    assert {row[0] for row in rows} <= {"0", "1"}


def test_json_has_the_choice_all_probabilities_and_the_examples_with_their_lines(folder, models):
    done = run("memgpt-rag", "classify", "predict", "good fun", "--json", "--memory", "films", *models, cwd=folder)
    (shown,) = map(json.loads, done.stdout.splitlines())
    assert shown["text"] == "good fun"
    assert shown["confidence"] == shown["probabilities"][shown["choice"]]
    assert sum(shown["probabilities"].values()) == pytest.approx(1)
    assert len(shown["neighbors"]) == 2
    lines = EXAMPLES.splitlines()
    for near in shown["neighbors"]:
        number = int(near["place"].removeprefix("films.csv, line "))
        assert lines[number - 1].endswith(f",{near['label']}")


def test_labelled_texts_are_measured(folder, models):
    done = run("memgpt-rag", "classify", "score", "films.csv", "--memory", "films", *models, cwd=folder)
    accuracy, error = (line.split() for line in done.stdout.splitlines())
    assert accuracy[0] == "accuracy" and accuracy[-2:] == ["4", "examples)"]
    assert float(accuracy[1]) in (0, 0.25, 0.5, 0.75, 1)
    assert 0 <= float(error[-1]) <= 1


def test_a_memory_that_is_there_becomes_a_classifier(folder, models):
    Memory.open(folder / "films")
    done = run("memgpt-rag", "classify", "fit", "--memory", "films", "-k", "1", "--fit-on", "0", *models, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "Weight of the language model 0.50, of the examples' vote 0.50 at temperature 1.00." in done.stdout


def test_mistakes_are_reported_before_a_model_is_loaded(folder):
    (folder / "broken.csv").write_text("text,label\na,1\nb\n")
    (folder / "one.csv").write_text("text,label\na,x\n")
    assert "broken.csv, line 3: 1 cells; expected 2" in failed("fit", "broken.csv", "--memory", "new", cwd=folder)
    assert "nowhere.csv cannot be read" in failed("fit", "nowhere.csv", "--memory", "new", cwd=folder)
    assert "--words x names no words" in failed("fit", "one.csv", "--memory", "new", "--words", "x", cwd=folder, code=2)
    assert "names a label twice" in failed(
        "fit", "one.csv", "--memory", "new", "--words", "x=a", "--words", "x=b", cwd=folder, code=2
    )
    assert not (folder / "new").exists()
    same = ["--words", "1=good", "--words", "0=good "]
    assert "have the same words, 'good'" in failed("fit", "films.csv", "--memory", "new", *same, cwd=folder)
    both = ["--text", "label", "--label", "label"]
    assert "'label' is named for the texts and for the labels" in failed(
        "fit", "films.csv", "--memory", "new", *both, cwd=folder
    )
    assert not (folder / "new").exists()
    (folder / "report.pdf").write_bytes(b"%PDF-1.4\n\xe2\xe3\xcf\xd3\n\x00")
    assert "report.pdf is no text file; give a file of text in UTF-8" in failed(
        "fit", "report.pdf", "--memory", "new", cwd=folder
    )
    (folder / "blank.txt").write_text(" \n\n")
    assert "blank.txt holds no text; give a file with a text a line." in failed(
        "predict", "--input", "blank.txt", "--memory", "films", cwd=folder
    )
    assert "Text 2 is empty" in failed("predict", "a", " ", "--memory", "films", cwd=folder, code=2)
    assert "There are no texts" in failed("predict", "--memory", "films", cwd=folder, code=2)
    assert "give one of them" in failed("predict", "a", "--input", "x", "--memory", "films", cwd=folder, code=2)
    assert "nowhere does not exist" in failed("predict", "a", "--memory", "nowhere", cwd=folder)


def test_what_does_not_fit_the_memory_is_reported(folder, models):
    (folder / "other.csv").write_text("text,label\na,2\n")
    (folder / "one.csv").write_text("text,label\na,x\nb,x\n")
    shown = failed("score", "other.csv", "--memory", "films", *models, cwd=folder)
    assert "There is no label '2' in the memory; expected 0, 1." in shown
    shown = failed("fit", "one.csv", "--memory", "one", *models, cwd=folder)
    assert "All 2 examples have one class, the label 'x'; give examples of two at least." in shown
    shown = failed("fit", "films.csv", "--memory", "one", "--words", "1=good", *models, cwd=folder)
    assert "There are no words for the label '0'; expected some for each of 0, 1." in shown
    assert not (folder / "one").exists()
    shown = failed("fit", "--memory", "films", "--label", "mood", *models, cwd=folder)
    assert "has no column 'mood' of labels; its metadata columns of type string: label." in shown
    shown = failed("fit", "films.csv", "--memory", "films", *models, cwd=folder)
    assert "holds a memory" in shown
