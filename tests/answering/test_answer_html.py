"""Answers in notebooks: the text as it is, cited spans marked, and nothing of a document that a browser would run."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

from memgpt_rag.answering.answer import Answer, Citation, Timings
from memgpt_rag.answering.quote import Quote
from memgpt_rag.passage import Passage

HOSTILE = "<script>alert(1)</script>\"'&amp;\u202e"


def passage(number: int, text: str) -> Passage:
    return Passage(f"{number}", text, HOSTILE, f"{HOSTILE}.txt", "", "line", number, number, 0, len(text))


BOATS, KITES = passage(1, "Boats & <b>canoes</b>: 40 yuan."), passage(2, "Kites are free.")
ANSWER = Answer(
    "What <i>costs</i> 40?",
    "Boats & canoes <cost> 40, kites nothing.",
    "memory",
    [Citation(BOATS, 0.91, 0.75, ((0, 14), (22, 24))), Citation(KITES, 0.5, 0.25, ((26, 31),))],
    0.6,
    Timings(0.1, 0.2, 0.3, 0.4),
    confidence=0.83,
    supported=True,
)


class Shown(HTMLParser):
    """The elements of a page, the text of its marks, and the text of its first paragraphs."""

    def __init__(self, page: str):
        super().__init__()
        self.names: list[str] = []
        self.marked: list[str] = []
        self.paragraphs: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        if tag != "br":
            self._open.append(tag)
        if tag == "mark":
            self.marked.append("")
        if tag == "p":
            self.paragraphs.append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "mark" in self._open:
            self.marked[-1] += data
        if "p" in self._open and "sup" not in self._open:
            self.paragraphs[-1] += data


def test_the_text_is_shown_as_it_is_with_its_cited_spans_marked():
    shown = Shown(ANSWER._repr_html_())
    assert shown.paragraphs[:2] == [ANSWER.question, ANSWER.text]
    assert shown.marked == ["Boats & canoes", "40", "kites"]
    assert shown.paragraphs[2:4] == [BOATS.text, KITES.text]
    assert "confidence 83%" in shown.paragraphs[4]


def test_no_element_comes_from_a_document():
    page = ANSWER._repr_html_()
    assert set(Shown(page).names) == {"div", "p", "b", "mark", "sup", "details", "summary", "span", "small"}
    assert "\u202e" not in page
    assert page.count("&lt;script&gt;") == 7  # three places of marks; a title and a place of each entry


def test_the_quote_leads_where_the_answer_is_not_supported():
    quoted = replace(ANSWER, quote=Quote(KITES, 0, 5))
    page = quoted._repr_html_()
    assert page.index("<mark") < page.index("<blockquote")
    doubted = replace(quoted, supported=False)._repr_html_()
    assert doubted.index("<blockquote") < doubted.index("<mark")
    assert "83%: probably not in memory" in doubted
    both = replace(quoted, supported=False, second_quote=Quote(BOATS, 0, 5))._repr_html_()
    assert doubted.count("<blockquote") == 1
    assert both.index(KITES.text[:5]) < both.rindex("<blockquote") < both.index("<mark")
    assert both[both.rindex("<blockquote") :].split(">", 1)[1].startswith("Boats")


def test_many_entries_have_a_color_each_or_share_the_last_one():
    citations = [Citation(passage(number, "Text."), 0.5, 0.1) for number in range(9)]
    page = replace(ANSWER, text="", citations=citations)._repr_html_()
    assert page.count("<details>") == 9
    assert Shown(page).marked == []
