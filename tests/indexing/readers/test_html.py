"""HTML as browsers show it: nothing lost, whatever the nesting; lists, tables, code and lines; what is left out is named."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.sources.document import Block, BlockBuilder, Document, Note
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.web.html import add_html, read
from memgpt_rag.errors import MissingPackageError


def blocks(page: str, first_line: int = 1) -> tuple[Block, ...]:
    builder = BlockBuilder()
    add_html(builder, page, first_line)
    return builder.blocks()


def texts(page: str) -> list[str]:
    return [block.text for block in blocks(page)]


def rows(page: str) -> list[tuple[str, str]]:
    return [(block.header, block.text) for block in blocks(page) if block.kind == "row"]


def read_page(path: Path, page: str, **options) -> tuple[Document, list[str]]:
    path.write_text(page, encoding="utf-8")
    document, *notes = sorted(read(path, path.name, ReadOptions(**options)), key=lambda item: isinstance(item, Note))
    assert isinstance(document, Document)
    return document, [note.text for note in notes if isinstance(note, Note)]


@pytest.mark.parametrize(
    "page, shown",
    [
        ("<form id=aspnet><div><p>A berth costs 17.</p></div></form><p>End", ["A berth costs 17.", "End"]),
        ("<form>Name: <input value=Ada> <label>Age</label><select><option>1</select><textarea>t</textarea></form>", ["Name: Age"]),
        ("<p>Press <button>Start</button><button>Stop</button>", ["Press Start Stop"]),
        ("<p>The <acronym>WHO</acronym> and <st1:city>Oslo</st1:city> are <strike>no</strike> <big>big</big>.", ["The WHO and Oslo are no big."]),
        ("<p>See <x-term><y-z>fjord</y-z> boats</x-term>, <blink>now</blink>", ["See fjord boats, now"]),
        ("one<section>two<aside>three</aside></section>four", ["one", "two", "three", "four"]),
        ("<dl><dt>Fee<dd>4 €<dt>Time<dd>7</dl>", ["Fee", "4 €", "Time", "7"]),
        ("<p>See <img src=m.png alt='the map'>, <img src=dot.gif alt=''>here", ["See the map , here"]),
        ("<p><ruby>漢字<rp>（</rp><rt>かんじ</rt><rp>）</rp></ruby>です", ["漢字(かんじ)です"]),
        ("<p>10<sup>6</sup> m<sup>2</sup>, 10<sup>−3</sup>, note<sup>1</sup>", ["10⁶ m2, 10⁻³, note1"]),
        ("<p>one<br>two<br/>\n three", ["one\ntwo\nthree"]),
        ("<p>渡船\n 七点出发\nat seven\n o'clock", ["渡船七点出发 at seven o'clock"]),
        ("<p>5 &lt; 6 &amp; &euro;&nbsp;4 &#x4e2d; &unknown; AT&T", ["5 < 6 & € 4 中 &unknown; AT&T"]),
        ("<details><summary>When?</summary>At seven.</details><dialog>Note</dialog>", ["When?", "At seven.", "Note"]),
        ("<svg><title>Icon</title><text>7:40</text><text>8:10</text></svg>", ["7:40 8:10"]),
        ("<object data=a.swf><p>Instead</p></object><iframe><p>no</p></iframe>", ["Instead"]),
        ("<frameset><frame src=a><noframes>No frames</noframes></frameset>", ["No frames"]),
        ("<p>a<![CDATA[ x < y > z ]]>b", ["a x < y > z b"]),
        ("just words", ["just words"]),
        ("<!-- only a comment -->", []),
        ("<!DOCTYPE html>", []),
        ("<?xml version='1.0'?><!-- c -->\n", []),
        ("", []),
    ],
)  # fmt: skip
def test_text_is_what_a_browser_shows(page, shown):
    assert texts(page) == shown


@pytest.mark.parametrize(
    "page",
    [
        "<p>first</p>" + "<div>" * 50_000 + "<p>inner</p>" + "</div>" * 50_000 + "<p>last</p>",
        "<p>first</p>" + "<table><tr><td>" * 3_000 + "inner" + "</table>" * 3_000 + "<p>last</p>",
        "first" + "<blockquote><ul><li>" * 5_000 + "inner</ul><p>last",
        "<p>first<p>inner" + "<span>" * 60_000 + "<p>last",
        "<p>first<p title=x " + " ".join(f"a{n}=1" for n in range(200_000)) + ">inner</p>last",
    ],
)
@pytest.mark.timeout(120)  # more than linear time would take far longer
def test_no_depth_is_too_much(page):
    assert texts(page) == ["first", "inner", "last"]


@pytest.mark.parametrize("tags", ["<font><b>", "<div>", "<i>", "<center><x-y>"])
def test_elements_that_are_not_closed_hide_nothing(tags):
    page = "\n".join(f"<p>{tags}Paragraph {number}" for number in range(400))
    assert texts(page) == [f"Paragraph {number}" for number in range(400)]


def test_text_of_more_than_10_mb_is_kept_whole():
    page = "<pre>" + "0123456789abcde\n" * 700_000 + "</pre><p>last"
    code, last = blocks(page)
    assert code.text == ("0123456789abcde\n" * 700_000).rstrip()
    assert (last.text, last.first) == ("last", 700_001)


@pytest.mark.parametrize("tag", ["title", "textarea"])
def test_a_title_that_is_not_closed_hides_nothing(tag):
    assert texts(f"<{tag}>Boats<body><p>The ferry leaves at 7.") == ["Boats", "The ferry leaves at 7."]


_TAGS = [
    "div",
    "p",
    "b",
    "font",
    "li",
    "ul",
    "ol",
    "table",
    "tr",
    "td",
    "th",
    "h1",
    "h3",
    "pre",
    "form",
    "x-y",
    "a",
    "dd",
    "sup",
    "rt",
]
_PIECES = st.one_of(
    st.integers(100, 10**6).map(lambda number: f" w{number} "),
    st.sampled_from(_TAGS).map(lambda tag: f"<{tag}>"),
    st.sampled_from(_TAGS).map(lambda tag: f"</{tag}>"),
    st.sampled_from(["<br>", "\n", "<hr>", "<!-- c -->", "&amp;", "<tbody>", "<caption>", "</"]),
)


@given(st.lists(_PIECES, max_size=60))
def test_every_word_is_kept_whatever_the_tags(pieces):
    page = re.sub("</(?![a-z])", "", "".join(pieces))  # with these a comment begins, by the standard
    words = [piece.strip() for piece in pieces if piece.startswith(" w")]
    built = blocks(page)
    headers = {id(block.header): block.header for block in built}
    # A heading with text under it is in the blocks' headings only.
    shown = [block.text for block in built] + list(headers.values()) + [h for block in built for h in block.headings]
    assert set(" ".join(shown).replace("|", " ").split()) >= {word for word in words if f" {word} " in page}


def test_items_of_lists_keep_their_numbers():
    assert texts("<ol><li>Open<li><p>Press</p><p>Wait</p><ul><li>calmly</ul><li>Go</ol>") == [
        "1. Open",
        "2. Press",
        "Wait",
        "calmly",
        "3. Go",
    ]
    assert texts("<ol start=7><li>a<li value=20>b<li>c</ol>") == ["7. a", "20. b", "21. c"]
    assert texts("<ol type=a start=26><li>x<li>y</ol><ol type=I><li>p<li><li>q</ol>") == [
        "z. x",
        "aa. y",
        "I. p",
        "III. q",
    ]
    assert texts("<ol reversed start=2><li>x<li>y</ol><ol start=x><li>z</ol>") == ["2. x", "1. y", "1. z"]
    assert texts("<ol><li><h2>Step</h2>Text</ol>") == ["Text"]
    assert blocks("<ol><li><h2>Step</h2>Text</ol>")[0].headings == ("1. Step",)


@pytest.mark.parametrize(
    "page, expected",
    [
        (
            "<table><tr><th>Boat<th>Kit<th>Price<tr><td>Rowing<td><ul><li>oars<li>vests</ul><td><p>40</p><p>a day</p></table>",
            [("Boat | Kit | Price", "Rowing | oars; vests | 40 a day")],
        ),
        ("<table><tr><td>Mon<td>9<br>10<tr><td>Tue<td><ol><li>a<li>b</ol></table>", [("", "Mon | 9 10"), ("", "Tue | 1. a; 2. b")]),
        (
            "<table><caption>Hours</caption><thead><tr><td>Day<td>Open</thead><tr><td rowspan=2>Mon<td>9<tr><td>14<tr><td colspan=2>Closed</table>",
            [("Day | Open", "Mon | 9"), ("Day | Open", " | 14"), ("Day | Open", "Closed")],
        ),
        (
            "<table><tr><th colspan=2>Fees<tr><th>Boat<th>Fee<tr><th>Canoe<td>4</table>",
            [("Fees\nBoat | Fee", "Canoe | 4")],
        ),
        (
            "<table><tr><th>A<th>B<tr><td>1<td>2<tr><th>C<th>D<tr><td>3<td>4</table>",
            [("A | B", "1 | 2"), ("C | D", "3 | 4")],
        ),
        (
            "<table><tr><th>Boat<th>Fee<tr><td>A<td><table><tr><td>day<td>3<tr><td>week<td>9</table></table>",
            [("Boat | Fee", "A | day, 3; week, 9")],
        ),
        (
            "<table><tr><td><h2>Fees</h2><table><tr><th>x<th>y<tr><td>1<td>2</table><td>side</table>",
            [("x | y", "1 | 2")],
        ),
        ("<table><tr><th>only<th>head</table>", [("", "only | head")]),
        ("<table><tr><td>a<td rowspan=x colspan=-1>b</table>", [("", "a | b")]),
    ],
)  # fmt: skip
def test_a_row_of_a_table_is_one_block_under_its_header(page, expected):
    assert rows(page) == expected


def test_a_table_that_lays_out_a_page_is_read_as_a_page():
    page = "<table><tr><td><a>Home</a><td><h1>Boats</h1><p>They are green.</p><pre>  x = 1</pre><td>End</table>"
    assert [(block.headings, block.kind, block.text) for block in blocks(page)] == [
        ((), "text", "Home"),
        (("Boats",), "text", "They are green."),
        (("Boats",), "code", "  x = 1"),
        (("Boats",), "text", "End"),
    ]
    assert rows("<table role=presentation><tr><td>a<td>b</table>") == []
    assert texts("<table><tr><td>menu<td>" + "long text " * 200 + "</table>") == ["menu", ("long text " * 200).strip()]


def test_code_keeps_its_indentation_and_lines():
    page = "<p>Run</p>\n<pre><code>\n  def f():\n    return <b>1</b>\n\n\n</code></pre>then<xmp>a\n b</xmp>"
    assert [(block.kind, block.text, block.first, block.last) for block in blocks(page)] == [
        ("text", "Run", 1, 1),
        ("code", "  def f():\n    return 1", 3, 4),
        ("text", "then", 7, 7),
        ("code", "a\n b", 7, 8),
    ]
    assert texts("<pre><div>a</div><div>  b</div>c<br>d</pre>") == ["a\n  b\nc\nd"]


def test_lines_are_those_of_the_source_also_beyond_65535():
    page = "<!--\n-->\n<p\n class=x>\n\n one\n two</p><script>\n\n</script>\nthree\n" + "\n" * 70_000 + "<div>four"
    expected = [("one two", 6, 7), ("three", 10, 10), ("four", 70_011, 70_011)]
    assert [(block.text, block.first, block.last) for block in blocks(page)] == expected
    assert [block.first for block in blocks(page.replace("\n", "\r\n"), 100)] == [105, 109, 70_110]


@pytest.mark.parametrize(
    "page, title, headings",
    [
        ("<title> Boat\n hire </title><p>x", "Boat hire", [()]),
        ("<svg><title>Icon</title></svg><title>Page</title><p>x", "Page", [()]),
        ("<svg><title>Icon</title></svg><p>x", "", [()]),
        ("<title></title><p>x", "", [()]),
        ("<title/><p>x", "", [()]),
        ("<title>A</title><title>B</title><p>x", "A", [()]),
        ("<p>before<h1>One</h1>x<h1>Two</h1>y<h2>Sub</h2>z", "", [(), ("One",), ("Two",), ("Two", "Sub")]),
        ("<h2>A <em>b</em><br>c</h2><p>x", "", [("A b c",)]),
        ("<h3>Not closed<p>x", "", [("Not closed",)]),
        (f"<h1>{'large text ' * 60}</h1><p>x", "", [(), ()]),
    ],
)
def test_titles_and_headings(page, title, headings):
    builder = BlockBuilder()
    assert add_html(builder, page) == title
    assert [block.headings for block in builder.blocks()] == headings


def test_what_is_left_out_is_counted(tmp_path):
    page = (
        "<body style='display:none'><nav>Home Boats 船只</nav><p hidden>one two</p><p style='color:red;display : NONE'>three</p>"
        "<noscript>four</noscript><template><p>five</template><p hidden=until-found>found</p><p aria-hidden=true>seen</p>"
        "<script>var x</script></body>"
    )
    document, notes = read_page(tmp_path / "a.html", page)
    assert [block.text for block in document.blocks] == ["found", "seen"]
    assert notes == ["4 words of navigation menus left out", "5 words of hidden text left out"]
    assert read_page(tmp_path / "b.html", "<nav>Menu</nav><p>x")[1] == ["1 word of navigation menus left out"]
    assert read_page(tmp_path / "c.html", "<p>x")[1] == []


def test_a_menu_without_an_end_takes_nothing_with_it():
    assert texts("<nav><a>Home</a><p>The ferry leaves at 7.") == ["Home", "The ferry leaves at 7."]


def test_a_fragment_continues_its_section():
    builder = BlockBuilder()
    builder.heading(1, "Fees", 1)
    left_out = Counter[str]()
    add_html(builder, "<table>\n<tr><td>Canoe<td>4</table><nav>a b</nav>", 10, left_out=left_out)
    assert builder.blocks() == (Block("Canoe | 4", 11, 11, ("Fees",), "row"),)
    assert left_out == {"navigation menus": 2}


MAIN = (
    "<html><title>Ferry</title><body><div class=sidebar><ul><li><a href=a>Read also: the weather</a></ul></div>\n<article>"
    "<h1>The ferry</h1><p>The ferry to the island leaves every morning at 7:40 from the northern pier, and is back at six.</p>\n"
    "<p>Tickets cost 12 crowns for adults. Children under seven travel without a ticket, as do dogs on a lap.</p>\n"
    "<ol><li>Go to the pier early in summer.<li>Buy a ticket at the machine.</ol></article>"
    "<div class=footer><p>Copyright 2020 harbour company, all rights reserved</p></div></body></html>"
)


def test_the_main_content_keeps_lines_headings_and_numbers(tmp_path):
    document, notes = read_page(tmp_path / "a.html", MAIN, main_content=True)
    assert [(block.first, block.headings, block.text[:22]) for block in document.blocks] == [
        (2, ("The ferry",), "The ferry to the islan"),
        (3, ("The ferry",), "Tickets cost 12 crowns"),
        (4, ("The ferry",), "1. Go to the pier earl"),
        (4, ("The ferry",), "2. Buy a ticket at the"),
    ]
    assert notes == ["11 words of text around the main content left out"]
    assert len(read_page(tmp_path / "a.html", MAIN)[0].blocks) == 6


def test_a_page_without_main_content_is_read_whole(tmp_path):
    document, notes = read_page(tmp_path / "a.html", "<p>Hi</p>", main_content=True)
    assert [block.text for block in document.blocks] == ["Hi"]
    assert notes == ["its main content was not found, so the whole page was read"]


def test_the_main_content_needs_a_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trafilatura", None)
    with pytest.raises(
        MissingPackageError, match=r"trafilatura, which is not installed; run: pip install 'memgpt_rag\[web\]'"
    ):
        read_page(tmp_path / "a.html", MAIN, main_content=True)
