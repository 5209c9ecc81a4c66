"""Headers, footers, page numbers and tables of contents of PDF files."""

from __future__ import annotations

import pytest
from pdf_files import Pages, read
from reading import texts

from indexing.sources.readers.pages.lines import Line
from indexing.sources.readers.pages.running_lines import leave_out_contents, leave_out_running_lines

BODY = ["Boats are let by the hour.", "Children wear a vest.", "Dogs stay ashore.", "The pier closes in storms."]


def test_headers_footers_and_page_numbers_are_left_out_and_counted(tmp_path):
    pages = Pages(tmp_path / "a.pdf")
    for number, line in enumerate(BODY, 1):
        pages.write(line)
        # The file holds the header last, and the footer first.
        pages.write(f"Page {number} of {len(BODY)}", y=40).write("Harbour handbook", y=800, size=9).page()
    (document,), notes = read(pages.save())
    assert [(block.text, block.first) for block in document.blocks] == [(line, at) for at, line in enumerate(BODY, 1)]
    assert notes == ["8 headers, footers and page numbers are left out: “Harbour handbook”, “Page 1 of 4”"]


def running(*pages: list[str], sizes: float = 10.0) -> list[list[str]]:
    """What is left of pages, given as lines from the top."""
    lines = [[Line(text, 700.0 - 20 * at, sizes) for at, text in enumerate(page)] for page in pages]
    leave_out_running_lines(lines)
    return [[line.text for line in page] for page in lines]


def test_headers_of_left_and_right_pages():
    assert running(
        ["Harbour handbook", "one", "10"], ["Rules for boats", "two", "11"], ["Harbour handbook", "three", "12"],
        ["Rules for boats", "four", "13"], ["Harbour handbook", "five", "14"], ["Rules for boats", "six", "15"],
    ) == [["one"], ["two"], ["three"], ["four"], ["five"], ["six"]]  # fmt: skip


def test_headers_that_name_the_chapter_and_the_page():
    heads = [
        "1",
        "2",
        "Chapter 1: Boats for hire 3",
        "Chapter 1: Boats for hire 4",
        "5",
        "6 Chapter 2: Dogs and bicycles",
        "Chapter 2: Dogs and bicycles 7",
    ]
    # The first page of a chapter has its number at the foot.
    pages = [
        [f"text {'x' * at}", head] if head in ("1", "5") else [head, f"text {'x' * at}"]
        for at, head in enumerate(heads)
    ]
    assert running(*pages) == [[f"text {'x' * at}"] for at in range(5)] + [[f"text {'x' * 5}"], [f"text {'x' * 6}"]]


def test_the_title_in_large_letters_is_kept_where_smaller_ones_repeat_it():
    lines = [
        [Line("Harbour handbook", 700, 10), Line("text" * at, 600, 10), Line("more" * at, 500, 10)]
        for at in range(1, 5)
    ]
    lines[0][0] = Line("Harbour handbook", 700, 24)
    leave_out_running_lines(lines)
    assert [len(page) for page in lines] == [3, 2, 2, 2]


def test_roman_page_numbers_and_numbers_that_begin_anew():
    assert running(["one", "iii"], ["two", "iv"], ["three", "v"]) == [["one"], ["two"], ["three"]]
    assert running(["Part A – 8", "a"], ["Part A – 9", "b"], ["Part A – 1", "c"], ["Part A – 2", "d"]) == [
        ["a"],
        ["b"],
        ["c"],
        ["d"],
    ]


@pytest.mark.parametrize(
    "pages",
    [
        [["Room 101 costs 5 crowns."], ["Room 102 costs 7 crowns."], ["Room 103 costs 9 crowns."]],
        [["Lesson 1", "a"], ["Lesson 2", "b"], ["Lesson 3", "c"]],
        [["Invoice number 1001", "a"], ["Invoice number 1002", "b"], ["Invoice number 1003", "c"]],
        [["Sum due 310", "a"], ["Sum due 95", "b"], ["Sum due 77", "c"]],
        [
            ["Boat 1", "for 4 people"],
            ["Boat 2", "for 5 people"],
            ["Boat 3", "for 6 people"],
            ["Boat 4", "for 9 people"],
        ],
        [["12 boats", "a"], ["40 crowns", "b"], ["3 dogs", "c"]],
        [["Header", "a"], ["Header", "b"]],
        [["Form", "Name", "Age", "Town", "Date", "Sign here", str(at) * at] for at in (3, 5, 9)],
        [["Same page"], ["Same page"], ["Same page"]],
        [["Header", "a"], ["b"], ["c"], ["d"], ["Header", "e"], ["Header", "f"], ["g"]],
    ],
)
def test_lines_that_say_something_on_each_page_are_kept(pages):
    assert running(*pages) == pages


def test_a_heading_in_larger_letters_on_most_pages_is_kept():
    lines = [[Line("Pump P10", 700, 20), Line("text" * at, 600, 10), Line("more" * at, 500, 10)] for at in range(1, 5)]
    assert leave_out_running_lines(lines) == []
    assert [page[0].text for page in lines] == ["Pump P10"] * 4


def contents(*pages: list[str]) -> tuple[dict[int, int], list[list[str]]]:
    lines = [[Line(text) for text in page] for page in pages]
    return leave_out_contents(lines), [[line.text for line in page] for page in lines]


def test_a_table_of_contents_is_left_out():
    entries = [
        "Contents",
        "1 Boats ........ 2",
        "1.1 Rowing boats",
        "and sailing boats . . . . . . 3",
        "2 Kiosk ____ 12",
    ]
    assert contents(["Handbook", *entries], ["Boats", "They float."]) == (
        {0: 5},
        [["Handbook"], ["Boats", "They float."]],
    )
    assert contents(["目 录", "第一章 码头……………1", "第二章 渡轮……………4", "第三章 票价……………9"], ["x"])[1] == [[], ["x"]]
    # No heading that says so, but its entries are headings of the document.
    assert contents(["Boats.....2", "Dogs.....3", "Kiosk.....iv"], ["1. Boats", "x", "Kiosk", "y"])[0] == {0: 3}
    # It goes on over the page.
    assert contents(["Contents", "A.....2", "B.....3", "C.....4"], ["D.....5", "E.....6", "F.....7", "Text"])[1] == [
        [],
        ["Text"],
    ]


@pytest.mark.parametrize(
    "menu",
    [
        ["Soup ........ 5", "Fish ........ 14", "Ice cream ..... 20"],
        ["Menu", "Soup ........ 5.50", "Fish ........ 14.00", "Cake .... 3.20"],
        ["Contents", "Sugar ..... 60", "Salt ..... 2", "Flour ..... 38"],
        ["Contents", "One ..... 1"],
    ],
)
def test_lists_with_leaders_that_are_no_tables_of_contents_are_kept(menu):
    assert contents(menu, ["The kitchen is open."]) == ({}, [menu, ["The kitchen is open."]])


def test_a_note_counts_the_lines_of_a_table_of_contents(tmp_path):
    pages = Pages(tmp_path / "a.pdf").page("Contents", "Boats ........ 2", "Dogs ........ 3", "Storms ........ 4")
    for line in BODY[:3]:
        pages.page(line)
    (document,), notes = read(pages.save())
    assert texts(document) == BODY[:3]
    assert notes == ["a table of contents on page 1 is left out (4 lines)"]
