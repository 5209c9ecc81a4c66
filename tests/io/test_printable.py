"""Text of others as it is shown: nothing in it does anything, nothing of it is lost."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memgpt_rag.io.printable import printable, printable_json, shortened

# All that is short or strange: the long runs of Han and Hangul are letters.
PLACES = (
    range(0x3400),
    range(0xA000, 0xAC00),
    range(0xD800, 0x10000),
    range(0x1D000, 0x1FB00),
    range(0xE0000, 0xE0200),
)
EVERY = "".join(chr(code) for places in PLACES for code in places)
# What a terminal, an editor or a pager acts on, by name and not by category.
ACTING = ["\x00", "\x07", "\x08", "\r", "\x1b", "\x7f", "\x85", "\x9b", "\x9d", "\u2028", "\u2029", "\ud800"]
TURNING = [*"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069", "\ufeff", "\U000e0041"]


@pytest.mark.parametrize("character", ACTING + TURNING, ids=ascii)
def test_a_character_that_does_something_is_shown_as_python_writes_it(character):
    for lines in (False, True):
        assert printable(f"a{character}b", lines=lines) == f"a{ascii(character)[1:-1]}b"


@pytest.mark.parametrize(
    "text",
    [
        "Der Park öffnet um 6 – „pünktlich“.",
        "公园早上六点开门。\u3000划船：40元",
        "می\u200cخواهم",
        "👩\u200d👩\u200d👧",
        "क्\u200dष",
        "\u0600١٢",
    ],
)
def test_text_in_any_script_stays_as_it_is(text):
    assert printable(text) == printable(text, lines=True) == text


def test_lines_stay_where_they_are_meant_and_only_there():
    assert printable("one\n\ttwo\r\n", lines=True) == "one\n\ttwo\\r\n"
    assert printable("one\n\ttwo") == "one\\n\\ttwo"


def test_of_all_characters_only_those_stay_that_are_seen_or_join():
    shown = printable(EVERY)
    unseen = {
        character for character in shown if unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs", "Co", "Cn")
    }
    assert not unseen
    marks = {character for character in shown if unicodedata.category(character) == "Cf"}
    assert {"\u200c", "\u200d"} < marks and not marks & set(TURNING)


@given(st.dictionaries(st.text(), st.lists(st.text(), max_size=3), max_size=3))
def test_json_is_read_as_it_was_written_and_can_be_looked_at(value):
    text = printable_json(value)
    assert json.loads(text) == value
    assert printable(text) == text
    text.encode()


def test_json_of_every_character_is_read_as_it_was_written():
    value = list(EVERY)  # one by one, or two halves would become a whole
    text = printable_json(value)
    assert json.loads(text) == value and printable(text) == text
    assert printable_json("公园\x1b\x9b\u2028\x7f\U000e0041") == '"公园\\u001b\\u009b\\u2028\\u007f\\udb40\\udc41"'


def test_a_quotation_says_how_much_it_leaves_out():
    assert shortened("x" * 200) == "x" * 200
    assert shortened("x" * 12_345) == "x" * 200 + "… (12,345 characters)"
