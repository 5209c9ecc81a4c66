"""memgpt-rag summarise: a document becomes a memory and is summarised, with its sources; mistakes are reported in a sentence."""

from __future__ import annotations

import json

import pytest
from commands import run
from served import saved_models

from memgpt_rag.memory import Memory

PAGE = "# Park\n\n## Boats\n\nA rowing boat costs 40 yuan.\n\n## Kites\n\nKites are lent to children.\n"
LENGTH = ["--part-tokens", "12"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return saved_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, models):
    """A folder with a page and the memory that was made of it while it was summarised."""
    folder = tmp_path_factory.mktemp("summarise")
    (folder / "park.md").write_text(PAGE)
    done = run("memgpt-rag", "summarise", "park.md", "--memory", "park", "--json", *LENGTH, *models, cwd=folder)
    assert done.returncode == 0, done.stderr
    parts = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(part["heading"], part["passages"]) for part in parts] == [("Boats", 1), ("Kites", 1)]
    return folder


def failed(*arguments, cwd, code=1):
    done = run("memgpt-rag", "summarise", *arguments, cwd=cwd)
    assert (done.returncode, done.stdout) == (code, "")
    return done.stderr


def test_a_document_stays_as_a_memory_where_it_is_given_a_name(folder):
    assert len(Memory.open(folder / "park")) == 2


def test_a_memory_is_summarised_with_the_sources_of_each_sentence(folder, models):
    done = run("memgpt-rag", "summarise", "--memory", "park", *LENGTH, *models, cwd=folder)
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith(("1. ", "2. "))] == ["1. Boats", "2. Kites"]
    assert "  [1] park.md, line 5" in lines and "  [1] park.md, line 9" in lines
    assert any(line.endswith("[1, 100%]") for line in lines)
    assert lines.count("  1 of 1 passages read") == 2


def test_an_outline_alone_needs_no_summary(folder, models):
    nowhere = ["--model", "no-such-model", "--encoder", "no-such-encoder"]  # neither is loaded
    done = run("memgpt-rag", "summarise", "--memory", "park", "--outline-only", *nowhere, cwd=folder)
    assert done.stdout == "1. Boats (1)\n2. Kites (1)\n"
    done = run("memgpt-rag", "summarise", "--memory", "park", "--outline-only", "--json", *nowhere, cwd=folder)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"heading": "Boats", "passages": 1},
        {"heading": "Kites", "passages": 1},
    ]
    asked = ["--outline-only", "--parts", "1", "--where", 'title == "Park › Kites"']
    done = run("memgpt-rag", "summarise", "--memory", "park", *asked, *models, cwd=folder)
    assert done.stdout == "1. Kites (1)\n"
    asked = ["--outline-only", "--about", "rowing", *models[2:], *nowhere[:2]]  # the encoder alone is
    done = run("memgpt-rag", "summarise", "--memory", "park", *asked, cwd=folder)
    assert done.stdout == "1. Boats (1)\n2. Kites (1)\n"
    done = run("memgpt-rag", "summarise", "--memory", "park", "--outline-only", "--about", "x", *nowhere, cwd=folder)
    assert done.returncode == 1 and "no-such-encoder" in done.stderr


def test_a_text_is_written_about_a_subject(folder, models):
    done = run(
        "memgpt-rag", "summarise", "--memory", "park", "--about", "rowing", "--parts", "1", *LENGTH, *models, cwd=folder
    )
    assert done.returncode == 0 and "2 of 2 passages read" in done.stdout


def test_mistakes_are_reported(folder, models):
    assert "Neither DOCUMENT nor --memory was given" in failed(cwd=folder, code=2)
    shown = failed("park.md", "--memory", "park", cwd=folder, code=2)
    assert "park is not empty, and DOCUMENT was given; leave DOCUMENT out" in shown
    assert "nowhere does not exist" in failed("--memory", "nowhere", cwd=folder)
    assert "There is no column 'year'" in failed("--memory", "park", "--where", "year > 2000", cwd=folder)
    shown = failed("--memory", "park", "--where", 'source == "other"', *models, cwd=folder)
    assert "No entry was found to write about; change the condition" in shown
    shown = failed(
        "--memory", "park", "--outline", "headings", "--where", 'title == "Park › Kites"', *models, cwd=folder
    )
    assert "No headings divide the 1 entry; outline by topics." in shown


@pytest.mark.slow
def test_a_document_that_cannot_be_read_is_reported_by_the_job(folder, capfd):
    shown = failed("nothing.md", cwd=folder)
    assert "nothing.md did not become a memory; the reason stands above." in shown
    assert "Error: nothing.md" in capfd.readouterr().err
