"""Memories made from texts in Python, without files: each text with its own key, and nothing dropped in silence."""

from __future__ import annotations

import re
from datetime import date

import numpy as np
import pytest
from hashing import HashEncoder

from memgpt_rag import Memory, Passage
from memgpt_rag.errors import BusyError, MemoryFormatError
from memgpt_rag.memory.versions import writing

ENCODER = HashEncoder()
TEXTS = [f"Boat {number} costs {number * 10} yuan." for number in range(600)]


def test_every_text_is_found_by_its_own_key(tmp_path):
    memory = Memory.create(tmp_path / "boats", TEXTS, ENCODER)
    assert [memory.passages([row])[0].text for row in range(600)] == TEXTS
    np.testing.assert_allclose(memory.keys(np.arange(600)), ENCODER.encode_passages(TEXTS), atol=1e-6)
    found = memory.search(ENCODER.encode_passages(TEXTS[::50]), 1)
    assert [passages[0].text for passages in found.passages] == TEXTS[::50]
    one = memory.passages([41])[0]
    assert (one.source, one.unit, one.first, one.place) == ("text", "line", 42, "text, line 42")


def test_passages_keep_their_ids_and_their_metadata(tmp_path):
    days = [date(2020, 1, 1), date(2021, 1, 1)]
    given = [Passage(f"{day}", "Text.", "Title", "log.csv", "1", "row", 1, 1, 0, 5, {"day": day}) for day in days]
    memory = Memory.create(tmp_path / "days", given, ENCODER, metadata={"day": "date"})
    assert memory.passages([0, 1]) == given
    assert memory.rows('day >= "2021-01-01"').tolist() == [1]


def test_equal_texts_are_entries_of_their_own(tmp_path):
    memory = Memory.create(tmp_path / "m", ["Same.", "Same."], ENCODER)
    ids = [one.id for one in memory.passages([0, 1])]
    assert len(set(ids)) == len(memory) == 2


@pytest.mark.parametrize(
    "given, match",
    [
        ([], "There are no passages; give at least one text"),
        (["One.", " \n"], "Passage 2 is empty; give a text"),
        (
            [Passage("a", text, "", "f", "", "line", 1, 1, 0, 4) for text in ("One.", "Two.")],
            "Passage 2 has the id 'a' of an earlier one",
        ),
    ],
)
def test_what_cannot_be_meant_leaves_nothing(tmp_path, given, match):
    with pytest.raises(ValueError, match=match):
        Memory.create(tmp_path / "m", given, ENCODER)
    assert not (tmp_path / "m").exists()


def test_a_memory_that_is_there_is_replaced_only_where_that_is_said(tmp_path):
    before = Memory.create(tmp_path / "m", TEXTS[:2], ENCODER)
    with pytest.raises(
        ValueError, match="holds a memory; name another folder, or replace it \\(--replace; in Python replace=True\\)"
    ):
        Memory.create(tmp_path / "m", TEXTS[2:4], ENCODER)
    assert Memory.open(tmp_path / "m").manifest == before.manifest
    after = Memory.create(tmp_path / "m", TEXTS[2:4], ENCODER, replace=True)
    assert [one.text for one in after.passages([0, 1])] == TEXTS[2:4]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(MemoryFormatError, match="holds files that are no memory; name a new or an empty folder"):
        Memory.create(tmp_path / "other", TEXTS[:1], ENCODER)
    with writing(tmp_path / "m"), pytest.raises(BusyError, match="Another job is writing"):
        Memory.create(tmp_path / "m", TEXTS[:1], ENCODER, replace=True)


def test_a_notebook_shows_what_a_memory_holds(tmp_path):
    memory = Memory.create(tmp_path / "<b>oats", TEXTS[:3], ENCODER)
    page = memory._repr_html_()
    assert re.findall(r"<th[^>]*>entries</th><td[^>]*>(3), ", page) == ["3"]
    assert re.findall(r"<th[^>]*>encoder</th><td[^>]*>([^,]+), ", page) == [ENCODER.fingerprint.name]
    assert "&lt;b&gt;oats</caption>" in page
