"""Markdown: no word is lost, none stands under a heading that is not its own, and no text takes more than linear time."""

from __future__ import annotations

from pathlib import Path

import pytest
from reading import texts

from indexing.sources.document import Block, Document, Note
from indexing.sources.formats import read_path
from indexing.sources.read_options import ReadOptions


def read(folder: Path, text: str) -> tuple[Document, list[Note]]:
    path = folder / "page.md"
    path.write_bytes(text.encode())
    document, *notes = read_path(path, "page.md", ReadOptions())
    assert isinstance(document, Document)
    return document, [note for note in notes if isinstance(note, Note)]


@pytest.fixture
def page(tmp_path):
    def read_whole(text: str) -> Document:
        document, notes = read(tmp_path, text)
        assert notes == []
        return document

    return read_whole


def outline(document: Document) -> list[tuple[tuple[str, ...], str]]:
    return [(block.headings, block.text) for block in document.blocks]


def test_words_of_html_blocks_are_kept(page):
    document = page(
        "# Kiosk\n\n<table>\n<tr><th>Ice</th><th>Price</th></tr>\n\n<tr><td>Lemon</td><td>3</td></tr>\n</table>\n\n"
        "<details><summary>Is it open?</summary>\n\nYes, *daily*.\n\n</details>\n\n<p align=center>Cash only.</p>\n"
    )
    words = " ".join(" ".join([block.header, block.text]) for block in document.blocks)
    assert "Ice | Price" in words
    assert "Lemon | 3" in words
    assert texts(document)[-3:] == ["Is it open?", "Yes, daily.", "Cash only."]


def test_inline_html_is_its_words(page):
    document = page('Ring <b>twice</b>.<br>Then <img alt="a green door" src="x.png"> opens<!-- or not -->.\n')
    assert texts(document) == ["Ring twice.\nThen a green door opens."]


@pytest.mark.parametrize(
    "text", ["The token <eos> ends it.", "Type <your-name> here.", "A List<String> of <T>.", "Values of 3 < 4 > 2."]
)
def test_angle_brackets_that_are_no_html_are_text(page, text):
    assert texts(page(text)) == [text]


def test_an_unknown_tag_alone_on_its_line_is_text(page):
    assert texts(page("Write:\n\n<placeholder>\n\nand send it.\n")) == ["Write:", "<placeholder>", "and send it."]


@pytest.mark.parametrize(
    "text, kept",
    [
        ("---\n\nThe quay is shut.\n\n# Tides\n\nHigh at six.\n\n---\n\nLow at noon.\n", "The quay is shut."),
        ("---\nThe quay is shut.\n\nHigh at six.\n---\nLow at noon.\n", "The quay is shut."),
        ("---\nNote: the quay is shut.\n# Tides\n\nHigh at six.\n\n---\n\nLow at noon.\n", "Note: the quay is shut."),
        ("---\n潮水六点涨。\n---\n中午退。\n", "潮水六点涨。"),
    ],
)
def test_text_between_rules_is_no_front_matter(page, text, kept):
    document = page(text)
    said = texts(document) + [heading for block in document.blocks for heading in block.headings]
    assert document.title == ""
    assert kept in said
    assert texts(document)[-1] in ("Low at noon.", "中午退。")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_front_matter_gives_the_title_and_its_other_fields_are_text(page, end):
    document = page(
        "---\ntitle: 'Fees: what''s due'  # 2024\nauthor: Lin\ntags:\n  - pier\n---\n\nTen francs.\n".replace("\n", end)
    )
    assert document.title == "Fees: what's due"
    assert document.blocks == (
        Block("author: Lin\ntags:\n  - pier", 2, 5),
        Block("Ten francs.", 8, 8),
    )


@pytest.mark.parametrize(
    "front, title",
    [
        ('title: "Boat \\"Anna\\""', 'Boat "Anna"'),
        ("layout: post\ntitle: >\n  A pier\n  in rain", "A pier in rain"),
        ("Title: 码头开放时间", "码头开放时间"),
        ("title: Lock: the north one", "Lock: the north one"),
        ("draft: true", ""),
    ],
)
def test_titles_of_front_matter(page, front, title):
    document = page(f"---\n{front}\n---\nText.\n")
    assert document.title == title
    assert texts(document)[-1] == "Text."


def test_front_matter_of_hugo_in_toml(page):
    document = page('+++\ntitle = "Mooring"\nweight = 3\n+++\nText.\n')
    assert (document.title, texts(document)) == ("Mooring", ["weight = 3", "Text."])


def test_an_only_h1_is_the_title_and_its_text_has_no_heading(page):
    document = page("---\nauthor: Lin\n---\n\n# Harbour {#top}\n\nA.\n\n## Pier\n\nB.\n")
    assert document.title == "Harbour"
    assert outline(document) == [((), "author: Lin"), ((), "A."), (("Pier",), "B.")]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("A.\n\n# One\n\nB.\n", [((), "A."), (("One",), "B.")]),
        ("# One\n\nA.\n\n# Two\n\nB.\n", [(("One",), "A."), (("Two",), "B.")]),
        ("## Low\n\nA.\n\n# High\n\nB.\n", [(("Low",), "A."), (("High",), "B.")]),
        ("<p>A.</p>\n\n# One\n\nB.\n", [((), "A."), (("One",), "B.")]),
        ("> # Quoted\n\nA.\n", [((), "Quoted"), ((), "A.")]),
    ],
)
def test_no_text_is_cited_under_a_heading_that_is_not_its_own(page, text, expected):
    document = page(text)
    assert (document.title, outline(document)) == ("", expected)


def test_a_title_with_nothing_under_it_is_text(page):
    assert page("\n# 只有标题\n").blocks == (Block("只有标题", 2, 2),)


def test_footnotes_are_text_where_they_stand(page):
    document = page(
        "船票十元[^1]，儿童免费[^儿童]。\n\n[^1]: 周末十二元。\n[^儿童]: 须由*成人*陪同。\n\n    也可由老师陪同。\n\n"
        "[备注]: 节日停航。\n[shop]: https://example.org/shop\n\nSee the [shop].\n"
    )
    assert texts(document) == [
        "船票十元[1]，儿童免费[儿童]。",
        "[1] 周末十二元。",
        "[儿童] 须由成人陪同。\n也可由老师陪同。",
        "[备注]: 节日停航。",
        "See the shop.",
    ]


@pytest.mark.parametrize(
    "text, kept",
    [
        ("[a]: Smith2020\n", ["[a]: Smith2020"]),
        ("[注意]: 第3/4号码头关闭。\n", ["[注意]: 第3/4号码头关闭。"]),
        ("[图]: 图片/码头.png\n", []),
        ("[a]: #top\n[b]: docs/pier\n", []),
    ],
)
def test_definitions_whose_target_is_no_address_are_text(page, text, kept):
    assert texts(page(text)) == kept


def test_rows_of_tables_have_lines_and_a_header(page):
    document = page("Fees:\n\n| Boat | Fee |\n|---|---|\n| Raft | 4 | per day |\n| | |\n| *Kayak* | 6 |\n")
    assert document.blocks[1:] == (
        Block("Raft | 4 | per day", 5, 5, (), "row", "Boat | Fee"),
        Block("Kayak | 6", 7, 7, (), "row", "Boat | Fee"),
    )
    assert texts(page("| Only | a header |\n|---|---|\n")) == ["Only | a header"]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("3. Lift.\n4. Turn.\n", "3. Lift.\n4. Turn."),
        ("1. Lift.\n1. Turn.\n1. Drop.\n", "1. Lift.\n2. Turn.\n3. Drop."),
        ("2) Lift.\n   - gently\n5) Turn.\n", "2) Lift.\ngently\n5) Turn."),
    ],
)
def test_ordered_lists_keep_their_numbers(page, text, expected):
    assert texts(page(text)) == [expected]


def test_code_keeps_its_indentation_also_in_a_list(page):
    document = page('1. Run:\n\n   ```py title="go.py"\n   if a:\n       b()\n   ```\n\n        x\n')
    assert [(block.text, block.kind) for block in document.blocks] == [
        ("1. Run:\ngo.py", "text"),
        ("if a:\n    b()", "code"),
        (" x", "code"),
    ]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("**警告：**请退后。", "警告：请退后。"),
        ("这是**“北岸”**码头。", "这是“北岸”码头。"),
        ("票价**十元（含税）**起。", "票价十元（含税）起。"),
        ("~~旧价：~~新价*（周末）*十元", "旧价：新价（周末）十元"),
        ("2 * 3 * 4 和 a*b", "2 * 3 * 4 和 a*b"),
    ],
)
def test_emphasis_beside_chinese_punctuation_leaves_no_marks(page, text, expected):
    assert texts(page(text)) == [expected]


def test_lines_of_chinese_are_joined_without_a_space(page):
    assert texts(page("北岸码头\n周末关闭。\nOpen on\nMonday.")) == ["北岸码头周末关闭。 Open on Monday."]


@pytest.mark.parametrize(
    "text, expected",
    [
        (":::tip Bring shoes\nThe quay is wet.\n:::\n", ["tip Bring shoes", "The quay is wet."]),
        ("::: {.warning}\nIce.\n:::\n", ["warning", "Ice."]),
        ('!!! note "Shoes"\n    The quay is wet.\n', ["Shoes\nThe quay is wet."]),
        ("> [!NOTE]\n> The quay is wet.\n", ["NOTE: The quay is wet."]),
        ("See [[pier|the pier]], [[quay]] and [[1]](http://x.org).", ["See the pier, quay and [1]."]),
        ('![the pier](p.png "In rain") and [a map](m.html)', ["the pier (In rain) and a map"]),
        ("Cost is $a_1 * b_2 * \\frac{x}{y}$ or $5 and $6.", ["Cost is $a_1 * b_2 * \\frac{x}{y}$ or $5 and $6."]),
    ],
)
def test_extensions_become_plain_text(page, text, expected):
    assert texts(page(text)) == expected


def test_what_is_nested_deeply_is_kept(page):
    words = " ".join(texts(page("".join(f"{'  ' * level}- item{level}\n" for level in range(60)))))
    assert [f"item{level}" in words.replace("\n", " ").split() for level in range(60)] == [True] * 60
    assert texts(page(">" * 500 + " inmost\n\nafter\n")) == ["inmost", "after"]
    words = " ".join(texts(page("".join(f"{'> ' * level}quote{level}\n>\n" for level in range(1, 90)))))
    assert [f"quote{level}" in words for level in range(1, 90)] == [True] * 89


def test_long_lists_become_blocks_with_lines_of_their_own(page):
    document = page("".join(f"- boat number {number} is green and has two oars\n" for number in range(100)))
    assert [block.first for block in document.blocks][:3] == [1, 22, 43]
    assert "\n".join(texts(document)).count("is green") == 100


@pytest.mark.parametrize("mark", ["`", "[", "*", "![", "[^", "<a ", "](", "$a", "**a", "> ", "_a", "[[a"])
@pytest.mark.timeout(120)  # more than linear time would take far longer
def test_hostile_marks_are_read_in_linear_time_and_kept(tmp_path, mark):
    document, notes = read(tmp_path, "Begin. " + mark * (200_000 // len(mark)) + " end\n")
    assert texts(document)[0].startswith("Begin.")
    assert texts(document)[-1].endswith(" end")
    assert all("too much markup" in note.text for note in notes)


def test_hostile_front_matter_is_text(page):
    assert texts(page("---\n" + "a: b\n" * 10_000))[0].startswith("a: b a: b")
    assert texts(page("---\n" * 5_000 + "Text.\n")) == ["Text."]


@pytest.mark.timeout(120)  # more than linear time would take far longer
def test_many_spaces_in_a_heading_take_linear_time(tmp_path):
    """Found by fuzzing notebooks, 13033062."""
    path = tmp_path / "a.md"
    path.write_text(f"# On{' ' * 600_000}e {{#on}}\n\nText\n")
    (document,) = read_path(path, path.name, ReadOptions())
    assert document.title.split() == ["On", "e"]
