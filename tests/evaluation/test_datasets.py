"""The benchmarks' retrieval tasks: as many documents, queries and judgements as their sources tell, and the right pairs."""

from __future__ import annotations

import re

import pytest

from benchmarks.judged_sets import JUDGED_SETS, load
from memgpt_rag.evaluation.data.dataset import Document, RetrievalDataset, merge_equal

# Documents, queries, judged queries, relevant judgements.
COUNTS = {
    "cranfield": (1400, 225, 225, 1612),
    "cisi": (1460, 112, 76, 3114),
    "cosqa": (6267, 500, 500, 500),
    "xquad-en": (240, 1190, 1190, 1190),
    "xquad-zh": (240, 1190, 1190, 1190),
    "xquad-zh-en": (240, 1190, 1190, 1190),
    "cmrc2018": (848, 3219, 3219, 3219),
    "hotpotqa": (994, 100, 100, 200),
    "musique": (1890, 100, 100, 237),
}


def loaded(name: str) -> RetrievalDataset:
    try:
        return load(name)
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("name", JUDGED_SETS)
def test_a_set_holds_what_its_source_tells(name):
    judged = loaded(name)
    relevant = sum(len(judged.relevant(query)) for query in judged.queries)
    assert judged.name == name
    assert (len(judged.documents), len(judged.queries), len(judged.judged), relevant) == COUNTS[name]
    assert all(text.strip() for text in judged.queries.values())


def test_cranfields_judgements_belong_to_the_query_at_their_place():
    judged = loaded("cranfield")
    # <num> of this one is 4; by the number, judgements of another query would count.
    assert judged.queries["3"].startswith("what problems of heat conduction in composite slabs")
    texts = [judged.documents[document].title for document in judged.relevant("3")]
    assert sum("slab" in text or "heat" in text or "temperature" in text for text in texts) > len(texts) / 2
    assert {grade for item in judged.judgements.values() for grade in item.values()} == {0, 1}
    twice = [name for name, (title, text) in judged.documents.items() if title and text.startswith(title)]
    assert twice == ["410"], "one text tells its title twice itself"
    assert [name for name, document in judged.documents.items() if document == ("", "")] == ["471", "995"]


@pytest.mark.parametrize("name", ["xquad-en", "xquad-zh", "cmrc2018"])
def test_the_paragraph_of_a_question_holds_its_answer(name):
    judged = loaded(name)
    held = [
        any(answer in judged.documents[judged.relevant(query)[0]].text for answer in answers)
        for query, answers in judged.answers.items()
    ]
    assert sum(held) / len(held) > 0.99, "CMRC has a few answers that stand nowhere"


def test_chinese_questions_are_judged_by_the_english_paragraph():
    crossing, english, chinese = map(loaded, ("xquad-zh-en", "xquad-en", "xquad-zh"))
    assert crossing.documents == english.documents
    assert crossing.queries == chinese.queries
    assert crossing.judgements == english.judgements == chinese.judgements


def test_a_function_of_cosqa_is_the_one_that_its_query_was_asked_for():
    judged = loaded("cosqa")
    (number,) = judged.relevant("cosqa-train-12467")
    assert judged.queries["cosqa-train-12467"] == "sort by a token in string python"
    assert judged.documents[number].text.startswith("def _process_and_sort(")


def test_a_set_that_is_absent_is_skipped_with_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"^The set cisi is not in {re.escape(str(tmp_path))}/cisi; it is"):
        load("cisi", tmp_path)


def test_equal_documents_become_one():
    one, other = Document("", "the same"), Document("", "another")
    kept, became = merge_equal([("a", one), ("b", other), ("c", one)])
    assert kept == {"a": one, "b": other}
    assert became == {"a": "a", "b": "b", "c": "a"}


@pytest.mark.parametrize(
    "judgements, sentence",
    [
        ({"q": {"d": 0}}, "No query of small has a relevant document"),
        ({}, "No query of small has a relevant document"),
        ({"q": {"e": 1}}, "judges the document 'e' for the query 'q'; it is none of its documents"),
        ({"r": {"d": 1}}, "judges or answers the query 'r', which is none of its queries"),
    ],
)
def test_a_set_that_measures_nothing_is_refused(judgements, sentence):
    with pytest.raises(ValueError, match=sentence):
        RetrievalDataset("small", {"d": Document("", "text")}, {"q": "query"}, judgements)
    with pytest.raises(ValueError, match="small has no document; expected at least one"):
        RetrievalDataset("small", {}, {"q": "query"}, judgements)


def test_only_queries_with_a_relevant_document_are_measured():
    documents = {name: Document("", name) for name in "de"}
    judged = RetrievalDataset(
        "small", documents, {"p": "1", "q": "2", "r": "3"}, {"p": {"d": 0}, "q": {"d": -1, "e": 2}}
    )
    assert judged.judged == {"q": "2"}
    assert judged.relevant("q") == ["e"]
    assert judged.relevant("r") == []


def test_digests_tell_documents_and_queries_apart_and_nothing_else():
    documents = {name: Document("", name) for name in "de"}
    small = RetrievalDataset("small", documents, {"q": "2"}, {"q": {"d": 0, "e": 2}})
    turned = RetrievalDataset("turned", dict(reversed(documents.items())), {"q": "2", "r": "3"}, {"q": {"e": 2}})
    assert (small.documents_digest, small.query_digests) == (turned.documents_digest, turned.query_digests)
    titled = RetrievalDataset("titled", {**documents, "d": Document("d", "")}, {"q": "2"}, {"q": {"e": 1}})
    assert titled.documents_digest != small.documents_digest
    assert titled.query_digests != small.query_digests
