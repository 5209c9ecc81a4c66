"""Outlines: every entry in one section, by headings where there are some, else by topics."""

from __future__ import annotations

import numpy as np
import pytest
from hashing import HashEncoder

from indexing.passages.split_passages import PassageSplitter
from indexing.sources.document import Block, Document
from memgpt_rag.memory import Memory
from memgpt_rag.passage import TITLE_SEPARATOR, Passage
from memgpt_rag.tasks.summaries.outline import by_headings, by_topics, sections


def passages(*paths: str) -> list[Passage]:
    """A passage under each path of headings, such as "Book/One/Two"."""
    return [
        Passage(
            f"{number}", f"Text {number}.", path.replace("/", TITLE_SEPARATOR), "book", "", "line", number, number, 0, 7
        )
        for number, path in enumerate(paths)
    ]


def outlined(paths, most):
    found = by_headings(passages(*paths), range(len(paths)), most)
    return {section.heading: section.rows for section in found}


PATHS = ("Book/A", "Book/A/a", "Book/A/b", "Book/B/c", "Book/B/d", "Book/B/d/x")


def test_sections_follow_the_deepest_level_of_headings_that_makes_few_enough():
    assert outlined(PATHS, 2) == outlined(PATHS, 4) == {"A": (0, 1, 2), "B": (3, 4, 5)}
    assert outlined(PATHS, 5) == {"A": (0,), "a": (1,), "b": (2,), "c": (3,), "d": (4, 5)}
    assert outlined(PATHS, 6) == {"A": (0,), "a": (1,), "b": (2,), "c": (3,), "d": (4,), "x": (5,)}


def test_what_stands_before_the_first_heading_has_that_of_the_document():
    assert outlined(("Book", "Book/A", "Book/B"), 3) == {"Book": (0,), "A": (1,), "B": (2,)}
    assert outlined(("", "A"), 3) == {"": (0,), "A": (1,)}


def test_entries_that_all_stand_under_the_same_headings_are_one_section():
    assert outlined(("Book/A/a",) * 3, 5) == {"a": (0, 1, 2)}
    assert outlined(("", ""), 5) == {"": (0, 1)}


def test_long_headings_make_the_outline_that_short_ones_make():
    def planned_sections(long: bool) -> list[tuple[str, tuple[int, ...]]]:
        def named(number: int, chapter: int) -> str:
            return f"{chapter}.{number} Which boats" + " and other vessels of any kind" * 5 * long

        blocks = [
            Block(f"Text {number} of chapter {chapter}.", 1, 1, (f"Chapter {chapter}" + " of the regulation" * 3 * long, named(number, chapter)))
            for chapter in (1, 2) for number in (1, 2, 3)
        ]  # fmt: skip
        title = "Regulation" + " on the use of quays" * 4 * long
        made = list(PassageSplitter(len, 400).split(Document("a.txt", "", title, "line", tuple(blocks))))
        return [(one.heading, one.rows) for one in by_headings(made, range(len(made)), 2)]

    short, long = planned_sections(False), planned_sections(True)
    assert [rows for _, rows in long] == [rows for _, rows in short] == [(0, 1, 2), (3, 4, 5)]
    assert [heading for heading, _ in long] == [f"Chapter {number}" + " of the regulation" * 3 for number in (1, 2)]


def test_several_documents_are_sections_of_their_own():
    assert outlined(("One/a", "One/b", "Two/a"), 2) == {"One": (0, 1), "Two": (2,)}


def test_neighbors_are_joined_where_even_the_first_level_has_too_many_headings():
    paths = [f"Book/{letter}" for letter in "ABCDEFG" for _ in range(3)]
    found = outlined(paths, 3)
    assert list(found) == ["A – C", "D – E", "F – G"]
    assert [row for rows in found.values() for row in rows] == [*range(21)]
    assert outlined(paths, 1) == {"Book": tuple(range(21))}


TEXTS = [f"zqzqzqzq {n}" for n in range(4)] + [f"wkwkwkwk {n}" for n in range(4)] + [f"jxjxjxjx {n}" for n in range(4)]


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    return Memory.create(tmp_path_factory.mktemp("outline") / "memory", TEXTS, HashEncoder())


def test_topics_are_entries_whose_keys_are_near_each_other_in_reading_order(memory):
    found = by_topics(memory, memory.rows(), 3)
    assert [section.rows for section in found] == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11)]
    for section in found:
        mean = memory.keys(section.rows).mean(axis=0)
        distances = np.linalg.norm(memory.keys(section.rows) - mean, axis=1)
        assert section.heading == "" and set(section.central) <= set(section.rows)
        assert distances[[section.rows.index(row) for row in section.central]].max() <= np.sort(distances)[1] + 1e-6


def test_few_entries_are_one_section_that_needs_no_name(memory):
    (section,) = by_topics(memory, memory.rows()[:5], 6)
    assert (section.heading, section.central, section.rows) == ("", (), (0, 1, 2, 3, 4))


def test_topics_stand_in_where_there_are_no_headings_unless_these_are_asked_for(memory):
    assert sections(memory, memory.rows(), 3, "auto") == sections(memory, memory.rows(), 3, "topics")
    with pytest.raises(ValueError, match="No headings divide the 12 entries; outline by topics."):
        sections(memory, memory.rows(), 3, "headings")
