"""Words that are divided at the end of a line or of a page of a PDF file."""

from __future__ import annotations

import pytest
from pdf_files import Pages, only
from reading import texts

from indexing.sources.readers.pages.lines import Line, Vocabulary, join_divided_words


def test_words_divided_at_a_line_end_are_joined(tmp_path):
    path = Pages(tmp_path / "ferry.pdf").page(
        "Rowing boats are hired out beside the light-",
        "house; the infor-",
        "mation desk, also for price-",
        "sensitive guests, is shut on holi-",
        "days. Thirty-",
        "two crowns buy a ticket for the An-",
        "glo-",
        "Norman ferry.",
    )
    assert texts(only(path.save())) == [
        "Rowing boats are hired out beside the lighthouse; the information\ndesk, also for price-sensitive\n"
        "guests, is shut on holidays.\nThirty-two\ncrowns buy a ticket for the Anglo-Norman ferry."
    ]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        # The document's own words decide.
        (["the set-up and the set-", "up"], ["the set-up and the set-up"]),
        (["a lighthouse, the light-", "house"], ["a lighthouse, the lighthouse"]),
        (["salt and water: salt-", "water fish"], ["salt and water: salt-water", "fish"]),
        (["how ever, what-", "ever"], ["how ever, whatever"]),
        # Words that are joined because of what they are.
        (["a self-", "made boat"], ["a self-made", "boat"]),
        (["from 2019-", "2020"], ["from 2019-", "2020"]),
        (["an A4-", "paper tray"], ["an A4-paper", "tray"]),
        (["short-", "and long-term"], ["short- and", "long-term"]),
        (["Jean\ufffePaul came"], ["Jean-Paul", "came"]),
        (["Ver\ufffekehr, Fahr\ufffeten."], ["Verkehr,", "Fahrten."]),
        (["ferry time\u00ad", "table"], ["ferry timetable"]),
        (["the time\u2010", "table (summer)"], ["the timetable", "(summer)"]),
        # No hyphen of a word.
        (["open 9 -", "noon"], ["open 9 -", "noon"]),
        (["closed -", "sorry"], ["closed -", "sorry"]),
        (["one-"], ["one-"]),
        (["票价\ufffe说明"], ["票价说明"]),
    ],
)
def test_a_hyphen_at_a_line_end_stays_where_it_belongs_to_the_word(lines, expected):
    ((*joined,),) = join_divided_words([[Line(line) for line in lines]])
    assert [line.text for line in joined] == expected


def test_a_word_divided_between_two_pages_is_whole_on_the_first(tmp_path):
    path = Pages(tmp_path / "a.pdf").page("The harbour is open for naviga-").page("tion all year.").save()
    blocks = only(path).blocks
    assert [(block.text, block.first) for block in blocks] == [
        ("The harbour is open for navigation", 1),
        ("all year.", 2),
    ]


def test_a_compound_seen_elsewhere_keeps_its_hyphen():
    known = Vocabulary(["a tide-table hangs", "the tides"])
    assert known.joined("tide", "table") == "tide-table"
    assert known.joined("ti", "des") == "tides"


@pytest.mark.timeout(120)  # more than linear time would take far longer
def test_long_lines_are_joined_in_linear_time():
    ((*joined,),) = join_divided_words([[Line("a" * 300_000 + "-"), Line("b" * 300_000), Line("a\ufffe" * 20_000)]])
    assert [line.text for line in joined] == ["a" * 300_000 + "b" * 300_000, "a" * 20_000 + "-"]
