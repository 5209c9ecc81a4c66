"""Cleaned text, lines made whole, passages cut at sentence ends, duplicates dropped only where nothing is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hashing import HashEncoder

from indexing.passages.drop_duplicates import DuplicateFilter
from indexing.passages.split_passages import PassageSplitter
from indexing.sources.clean_text import clean, join_wrapped_lines
from indexing.sources.document import Block, Document
from memgpt_rag.passage import Passage

count = HashEncoder().count_tokens


@pytest.mark.parametrize(
    "raw, cleaned",
    [
        ("cafe\u0301", "café"),
        ("zero\u200bwidth soft\u00adhyphen\ufeff", "zerowidth softhyphen"),
        ("a\u00a0b\u3000c\t d", "a b c d"),
        ("  line  \r\n\r\n\r\n\r\n next\x07 ", "line\n\nnext"),
        ("全角，标点！", "全角，标点！"),
        ("\u2028", ""),
    ],
)
def test_clean(raw, cleaned):
    assert clean(raw) == cleaned
    assert clean(cleaned) == cleaned


WRAPPED = """\
This paragraph was broken into lines by a program that wraps text at seventy
columns, so its lines belong together and its sentences must be whole again.

* a list item stays on its own line even where the line before it is full to it
* another one
  This is a short line.
And this is not part of it.

这一段中文是由程序按照固定的宽度折行的，所以这些行应该重新连接起来，中间不
加空格，这样句子才是完整的。
"""


def test_lines_that_a_layout_broke_are_made_whole():
    paragraphs = list(join_wrapped_lines(WRAPPED))
    assert [(first, last) for first, last, _ in paragraphs] == [(1, 2), (4, 7), (9, 10)]
    assert paragraphs[0][2].endswith(
        "wraps text at seventy columns, so its lines belong together and its sentences must be whole again."
    )
    assert paragraphs[1][2].split("\n")[1:] == ["* another one", "This is a short line.", "And this is not part of it."]
    assert "折行的，所以这些行应该重新连接起来，中间不加空格，这样句子才是完整的。" in paragraphs[2][2]


def test_lines_of_a_poem_stay_lines():
    poem = "床前明月光\n疑是地上霜\n举头望明月\n低头思故乡"
    assert list(join_wrapped_lines(poem)) == [(1, 4, poem)]


def document(*blocks: Block, title: str = "") -> Document:
    return Document("doc.txt", "", title, "line", blocks)


def test_passages_end_at_sentence_ends_in_both_languages():
    english = " ".join(f"Sentence number {number} says something about the town." for number in range(40))
    chinese = "".join(f"第{number}句话说的是公园里的天气和活动。" for number in range(40))
    for text, ends in ((english, "."), (chinese, "。")):
        passages = list(PassageSplitter(count, 60).split(document(Block(text, 1, 1))))
        assert len(passages) > 4
        assert all(passage.text.endswith(ends) for passage in passages)
        assert all(count(passage.text) <= 60 for passage in passages)
        assert "".join(passage.text for passage in passages).replace(" ", "") == text.replace(" ", "")


def test_no_passage_is_too_long_even_without_a_sentence_end():
    for text in ("word " * 500, "字" * 500, "x" * 5000):
        passages = list(PassageSplitter(lambda piece: len(piece) // 3 + 1, 50).split(document(Block(text, 1, 1))))
        assert all(len(passage.text) // 3 + 1 <= 50 for passage in passages)
        assert "".join(passage.text for passage in passages).replace(" ", "") == text.replace(" ", "")


def test_pieces_are_of_similar_length():
    text = " ".join(f"Sentence {number} is here." for number in range(41))  # 164 words: two pieces of 82, not 160 and 4
    lengths = [count(passage.text) for passage in PassageSplitter(count, 160).split(document(Block(text, 1, 1)))]
    assert len(lengths) == 2
    assert min(lengths) > 60


def test_spans_point_at_the_text():
    blocks = [
        Block("First  block.", 3, 4, ("One",)),
        Block("Second block. " * 9, 6, 9, ("One",)),
        Block(" Third\u00a0block.", 12, 12, ("Two",)),
    ]
    passages = list(PassageSplitter(count, 12).split(document(*blocks, title="Doc")))
    whole = "\n\n".join(clean(block.text) for block in blocks)
    for passage in passages:
        assert whole[passage.start : passage.end] == passage.text
    ids = [passage.id for passage in passages]
    assert len(set(ids)) == len(ids), "also where one text stands there twice"
    assert all(id.startswith("doc.txt#") for id in ids)
    more = list(PassageSplitter(count, 12).split(document(Block("New.", 1, 1, ("One",)), *blocks[2:], title="Doc")))
    assert more[-1].id == ids[-1], "an id is of a text and not of its number"
    assert (passages[0].first, passages[-1].first, passages[-1].last) == (3, 12, 12)
    assert [passage.title for passage in passages] == ["Doc › One"] * (len(passages) - 1) + ["Doc › Two"]
    assert all("Third" not in passage.text for passage in passages[:-1])


def test_a_long_title_keeps_the_innermost_heading_and_loses_nothing():
    regulation = "Regulation of the council on the letting of berths and the use of quays and the collection of fees in all harbours"
    blocks = [Block("Closed.", 1, 1, ("North quay",)), Block("Open.", 2, 2, ("Part two", "South quay in winter"))]
    north, south = PassageSplitter(count).split(document(*blocks, title=regulation))
    assert (north.title, south.title) == (
        f"{regulation} › North quay",
        f"{regulation} › Part two › South quay in winter",
    )
    assert north.short_title.startswith("Regulation of the council") and north.short_title.endswith("… › North quay")
    assert south.short_title.endswith("… › Part two › South quay in winter")
    assert max(len(north.short_title), len(south.short_title)) <= 120
    assert north.titled_text == f"{north.short_title}\n{north.text}"
    assert (north.text, south.text) == (f"{regulation}\n\nClosed.", "Open."), "the whole title once, as text"
    question = "May I keep a rowing boat that is longer than six metres at the north quay in winter " * 2
    (faq,) = PassageSplitter(count).split(Document("faq.csv", "7", question, "line", (Block("No.", 7, 7),)))
    assert faq.text == f"{question.strip()}\n\nNo."
    assert faq.title == faq.short_title == question[:119] + "…"
    middle = [f"Heading number {number} that is rather long for a heading" for number in range(4)]
    (deep,) = PassageSplitter(count).split(document(Block("Text.", 1, 1, tuple(middle)), title="Manual"))
    assert deep.headings == ("Manual", *middle)
    assert deep.short_title.startswith("Manual › ") and deep.short_title.endswith(middle[-1])
    for part in middle:
        assert part in deep.short_title or part in deep.text


def test_what_is_stored_of_a_title_is_bounded():
    for innermost, stored in ((5_000, "i" * 119 + "…"), (500, "Doc › " + "i" * 500)):
        block = Block("Text.", 1, 1, ("h" * 10_000, "i" * innermost))
        made = list(PassageSplitter(count).split(document(block, title="Doc")))
        assert {passage.title for passage in made} == {stored}
        assert max(len(passage.short_title) for passage in made) <= 120
        whole = "".join(passage.text for passage in made)
        assert whole.count("h") == 10_000 and whole.count("i") == innermost


def test_each_passage_of_a_table_has_its_header():
    rows = [
        Block(f"Boat {number} | {number} yuan", number + 2, number + 2, (), "row", "model | price")
        for number in range(1, 40)
    ]
    passages = list(PassageSplitter(count, 40).split(document(Block("Our prices:", 1, 1), *rows)))
    assert len(passages) > 4
    assert passages[0].text.startswith("Our prices:\nmodel | price\nBoat 1 | 1 yuan\n")
    assert all(one.text.startswith("model | price\nBoat ") for one in passages[1:])
    assert all(count(one.text) <= 40 for one in passages)
    shown = [line for one in passages for line in one.text.split("\n") if line.startswith("Boat")]
    assert shown == [row.text for row in rows], "each row once, none torn"
    for one in passages[1:]:
        first = one.text.split("\n")[1]
        assert (one.first, one.last) == (int(first.split()[1]) + 2, one.first + one.text.count("\n") - 1)
    bare = [Block(f"{number} | {number}", number, number, (), "row") for number in range(1, 40)]
    assert "\n".join(one.text for one in PassageSplitter(count, 40).split(document(*bare))) == "\n".join(
        row.text for row in bare
    )
    wide = [Block(row.text, 1, 1, (), "row", "word " * 30) for row in rows]
    assert sum("word word" in one.text for one in PassageSplitter(count, 40).split(document(*wide))) == 1


def test_two_tables_keep_their_own_headers():
    boats = [Block(f"Boat {number} | {number}", 1, 1, (), "row", "boat | price") for number in range(20)]
    kites = [Block(f"Kite {number} | {number}", 1, 1, (), "row", "kite | length") for number in range(20)]
    for one in PassageSplitter(count, 30).split(document(*boats, *kites)):
        lines = one.text.split("\n")
        for kind in ("Boat", "Kite"):
            if any(line.startswith(kind) for line in lines):
                assert any(line.startswith(kind.lower()) for line in lines)


def test_code_keeps_its_indentation():
    code = "def open(park):\n\tif park.closed:\n\t\treturn None\n" + "".join(
        f"    gate_{number} = park.gates[{number}].open()\n" for number in range(30)
    )
    passages = list(PassageSplitter(count, 40).split(document(Block(code, 1, 33, kind="code"))))
    assert "\n".join(one.text for one in passages) == code.expandtabs(4).rstrip("\n")
    assert passages[1].text.startswith("    gate_")
    (inner,) = PassageSplitter(count).split(document(Block("    if closed:\n        stay()\n", 1, 2, kind="code")))
    assert inner.text == "    if closed:\n        stay()", "of the first line, too"


@pytest.mark.parametrize(
    "text",
    [
        "0123456789abcdef" * 20_000,
        "a" * 300_000,
        "if(a){b=c;d.e(f,g)};" * 10_000,
        "a\n" * 100_000,
        "公园里的树很多。" * 8_000,
        "x" * 999 + " " + "y" * 5_000 + "。" + "z" * 70_000,
    ],
)
def test_the_work_of_cutting_grows_with_the_text(text):
    def work(text: str) -> int:
        counted = 0

        def counting(piece: str) -> int:
            nonlocal counted
            counted += len(piece)
            return len(piece) // 4 + 1

        passages = list(PassageSplitter(counting, 100).split(document(Block(text, 1, 1))))
        assert all(len(one.text) // 4 + 1 <= 100 for one in passages)
        assert "".join("".join(one.text.split()) for one in passages) == "".join(text.split())
        return counted

    assert work(text) < 2.5 * work(text[: len(text) // 2]), "characters that were counted"
    assert work(text) < 150 * len(text)


def test_halves_of_characters_are_replaced():
    (one,) = PassageSplitter(count).split(document(Block("A half \ud83d here.", 1, 1), title="\udc00"))
    assert (one.text, one.title) == ("A half \ufffd here.", "\ufffd")


def test_empty_blocks_make_no_passages():
    assert list(PassageSplitter(count).split(document(Block(" \u200b\n", 1, 1)))) == []


def test_a_limit_that_no_sentence_can_keep_is_refused():
    with pytest.raises(ValueError, match="max_tokens is 7; expected 8 or more"):
        PassageSplitter(count, 7)


def passage(text: str, title: str = "") -> Passage:
    return Passage("id", text, title, "doc", "", "line", 1, 1, 0, len(text))


LONG = "The museum of clocks stands beside the old town hall and shows more than four hundred pieces from three centuries, among them the astronomical clock."
CHINESE = "钟表博物馆位于老市政厅旁边，展出三个世纪以来的四百多件钟表，其中包括一座天文钟，每逢整点都会报时。"


@pytest.mark.parametrize(
    "first, second, verdict",
    [
        (LONG, LONG, "exact"),
        (LONG, LONG.replace(",", "").upper(), "near"),
        (LONG, LONG.rsplit(",", 1)[0], "near"),
        ("NOTE " + LONG, LONG, "near"),
        (LONG.replace("shows", "does not show"), LONG.replace("shows", "does show"), "new"),
        (LONG, LONG.split(" and ")[0], "new"),
        (LONG, LONG.replace("four hundred", "five hundred"), "new"),
        (LONG, LONG + " Entry is free.", "new"),
        (LONG, " ".join(reversed(LONG.split())), "new"),
        (CHINESE, CHINESE, "exact"),
        (CHINESE, CHINESE.replace("，", ","), "near"),
        (CHINESE, CHINESE.replace("四百", "五百"), "new"),
        (CHINESE, CHINESE.replace("会报时", "不会报时"), "new"),
    ],
)
def test_a_duplicate_says_nothing_new(first, second, verdict):
    duplicates = DuplicateFilter()
    assert duplicates.is_new(passage(first))
    assert duplicates.is_new(passage(second)) == (verdict == "new")
    assert (duplicates.counts.exact, duplicates.counts.near) == (verdict == "exact", verdict == "near")


@pytest.mark.parametrize(
    "first, second",
    [
        *(("It freezes at -5 degrees", "It freezes at 5 degrees"), ("if a > b", "if a < b"), ("x + 1", "x - 1")),
        *(("if a != b", "if a == b"), ("α ≤ β", "α ≥ β"), ("Use C++ here", "Use C# here"), ("10³ kg", "103 kg")),
        *(
            ("It costs 3.50 each", "It costs 3 50 each"),
            ("a * b", "a / b"),
            ("if !ok", "if ok"),
            ("5% of it", "5 of it"),
        ),
        *(("It costs $5", "It costs €5"), ("pages 3-5", "pages 3 5"), ("🙂🙂", "→→→"), ("…", "!!")),
    ],
)
def test_a_sign_that_changes_what_is_said_makes_another_fact(first, second):
    for one, other in ((first, second), (second, first)):
        duplicates = DuplicateFilter()
        assert duplicates.is_new(passage(one)) and duplicates.is_new(passage(other))


@pytest.mark.parametrize(
    "first, second",
    [
        ("A boat, for two: 40 yuan!", "a boat for two 40 yuan"),
        ("**Bold** boats — and `kites`", "Bold boats - and kites"),
        ("- boats\n- kites", "* boats\n* kites"),
        ("Boats\n=====\nKites", "Boats\n\nKites"),
        ("10³ kg of well-known apples", "10^3 kg of well known apples"),
    ],
)
def test_a_layout_alone_makes_no_other_fact(first, second):
    duplicates = DuplicateFilter()
    assert duplicates.is_new(passage(first)) and not duplicates.is_new(passage(second))
    assert duplicates.counts.near == 1


def test_passages_under_other_headings_are_no_duplicates():
    duplicates = DuplicateFilter()
    for text in ("Yes.", LONG, CHINESE):
        assert duplicates.is_new(passage(text, "Pump P10"))
        assert duplicates.is_new(passage(text, "Pump P20"))
        assert not duplicates.is_new(passage(text, "Pump P10"))
        assert not duplicates.is_new(passage(text + "!", "Pump P20"))
    assert (duplicates.counts.exact, duplicates.counts.near) == (3, 3)


def test_a_copied_file_without_a_title_is_a_duplicate():
    duplicates = DuplicateFilter()
    for source, new in (("a/museum.txt", True), ("copy of museum.txt", False)):
        title = Path(source).stem
        assert duplicates.is_new(replace(passage(LONG, title), source=source)) is new
        assert duplicates.is_new(replace(passage(LONG, f"{title} › Clocks"), source=source)) is new
    assert duplicates.is_new(replace(passage(LONG, "museum › Maps"), source="museum.txt")), "another heading"


def test_near_duplicates_among_many_passages_are_found():
    duplicates = DuplicateFilter()
    texts = [
        f"Station {number} lies at kilometre {number * 7} of the line and was opened by the minister in person long ago."
        for number in range(300)
    ]
    assert all(duplicates.is_new(passage(text)) for text in texts)
    assert not any(duplicates.is_new(passage(text.replace(" long ago.", "").upper())) for text in texts)
    assert (duplicates.counts.exact, duplicates.counts.near) == (0, 300)
    assert all(duplicates.is_new(passage(text.replace("in person", "herself"))) for text in texts)
