"""Search by words: BM25 over what a memory holds now, whatever its history, equal to bm25s over the same entries."""

from __future__ import annotations

import dataclasses
import json
import shutil
from functools import partial

import bm25s
import numpy as np
import pytest
import Stemmer
from bm25_oracle import bm25s_scores
from hashing import HashEncoder, passage
from hypothesis import given
from hypothesis import strategies as st

from indexing.jobs.verify_memory import verify_memory
from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.memory import Memory, MemoryWriter, Shards, add_lexical_index, additions, expire, roll_back
from memgpt_rag.memory.changes import compact
from memgpt_rag.memory.lexical.analysis import ANALYSIS, query_terms, terms
from memgpt_rag.memory.lexical.postings import InvertedIndex, write_lexical_index
from memgpt_rag.memory.storage import layout
from memgpt_rag.memory.storage.files import describe
from memgpt_rag.memory.versions import publish

ENCODER = HashEncoder()
TEXTS = [
    "The ferry to Moss Island leaves at 7:40, and the ferry back leaves at 18:10.",
    "Boats are rented at the pier for forty yuan an hour.",
    "公园早上六点开门，晚上九点关门。",
    "公园里可以划船，划船每小时四十元。",
    "The island has a lighthouse; lighthouses burn.",
    "def readFile(path): return open_file(path)",
    "",
    "Nothing is said here about islands or boats.",
]
QUESTIONS = [
    "When does the ferry leave for the island?",
    "公园几点开门？",
    "划船多少钱",
    "read file",
    "ferry ferry boats",
    "?",
]


def passages(texts, first=0):
    return [passage(number, text or " ") for number, text in enumerate(texts, first)]


def write(folder, texts, *, delete=(), first=0, titled=True):
    added = passages(texts, first)
    with MemoryWriter(folder) as writer:
        writer.add_values(added if titled else [dataclasses.replace(one, title="") for one in added])
        for block in writer.value_blocks(3):
            writer.add_keys(ENCODER.encode_passages([one.titled_text for one in block]))
        writer.delete(delete)
        writer.commit(ENCODER.fingerprint, splitting={"tokenizer": "hash", "max_tokens": 160}, job={"name": "build"})
    return Memory.open(folder)


@pytest.fixture
def memory(tmp_path):
    """Two segments and deleted rows in both; words came between them."""
    add_lexical_index(write(tmp_path / "memory", TEXTS[:5]))
    write(tmp_path / "memory", TEXTS[5:], first=5)
    return write(tmp_path / "memory", ["A boat that goes to no island."], first=8, delete=[1, 7])


def oracle(memory, question):
    """BM25 of every row by bm25s, 0 for deleted ones."""
    live = memory.rows()
    scores = np.zeros(memory.num_rows)
    scores[live] = bm25s_scores([one.titled_text for one in memory.passages(live)], question)
    return scores


def assert_equals_oracle(memory, k=20):
    vectors = ENCODER.encode_queries(QUESTIONS)
    for question, vector, found in zip(QUESTIONS, vectors, memory.candidates(vectors, QUESTIONS, k), strict=True):
        np.testing.assert_allclose(found.bm25_scores, oracle(memory, question)[found.rows], rtol=1e-5)
        np.testing.assert_allclose(found.scores, memory.keys(found.rows) @ vector, atol=1e-6)


def test_scores_equal_bm25s_over_the_entries_that_are_left(memory):
    assert memory.rows().tolist() == [0, 2, 3, 4, 5, 6, 8]
    assert_equals_oracle(memory)


def test_entries_without_terms_score_nothing_by_words(tmp_path):
    """Of stop words, punctuation and single letters no term is left, so that the mean length is 0."""
    add_lexical_index(write(tmp_path / "memory", ["the", "?!", "a"], titled=False))
    memory = Memory.open(tmp_path / "memory")
    assert [terms(one.titled_text) for one in memory.passages(memory.rows())] == [[], [], []]
    assert_equals_oracle(memory)
    for found in memory.candidates(ENCODER.encode_queries(QUESTIONS), QUESTIONS, 20):
        assert found.rows.tolist() == [0, 1, 2] and found.bm25_scores.tolist() == [0, 0, 0]
    assert [found.rows.tolist() for found in memory.candidates(None, QUESTIONS, 20)] == [[]] * len(QUESTIONS)
    write(memory.path, ["The ferry leaves at 7:40."], first=3)
    assert_equals_oracle(Memory.open(memory.path))


def test_compacting_changes_no_score(memory):
    before = memory.candidates(ENCODER.encode_queries(QUESTIONS), QUESTIONS, 20)
    compact(memory.path)
    compacted = Memory.open(memory.path)
    assert len(compacted.segments) == 1 and compacted.manifest.words == ANALYSIS
    assert_equals_oracle(compacted)
    after = compacted.candidates(ENCODER.encode_queries(QUESTIONS), QUESTIONS, 20)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one.bm25_scores, other.bm25_scores, rtol=1e-6)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_best_k_of_either_search_are_proposed(memory, k):
    vectors = ENCODER.encode_queries(QUESTIONS)
    for question, vector, found in zip(QUESTIONS, vectors, memory.candidates(vectors, QUESTIONS, k), strict=True):
        by_words = oracle(memory, question)
        wanted = {row for row in np.argsort(-by_words, kind="stable")[:k] if by_words[row] > 0}
        wanted |= set(memory.search(vector[None], k).rows[0].tolist())
        assert set(found.rows.tolist()) == wanted


def test_without_vectors_words_alone_propose(memory):
    for question, found in zip(QUESTIONS, memory.candidates(None, QUESTIONS, 20), strict=True):
        by_words = oracle(memory, question)
        assert found.rows.tolist() == np.flatnonzero(by_words).tolist()
        np.testing.assert_allclose(found.bm25_scores, by_words[found.rows], rtol=1e-5)


def test_a_condition_holds_for_both_searches(memory):
    vectors = ENCODER.encode_queries(QUESTIONS)
    for found in memory.candidates(vectors, QUESTIONS, 9, where="first >= 3 and first < 6"):
        assert found.rows.tolist() == [3, 4, 5]


def test_shards_find_what_one_memory_finds(tmp_path):
    whole = write(tmp_path / "whole", TEXTS)
    parts = [write(tmp_path / "a", TEXTS[:3]), write(tmp_path / "b", TEXTS[3:], first=3)]
    for part in (whole, *parts):
        add_lexical_index(part)
    whole = Memory.open(whole.path)
    shards = Shards([Memory.open(part.path) for part in parts])
    vectors = ENCODER.encode_queries(QUESTIONS)
    for k in (1, 3, 9):
        pairs = zip(whole.candidates(vectors, QUESTIONS, k), shards.candidates(vectors, QUESTIONS, k), strict=True)
        for one, other in pairs:
            assert one.rows.tolist() == other.rows.tolist()
            np.testing.assert_allclose(one.bm25_scores, other.bm25_scores, rtol=1e-6)
            np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)


@pytest.mark.parametrize("text", TEXTS[:2] + TEXTS[4:5] + [TEXTS[7]])
def test_english_terms_are_those_of_bm25s(text):
    stemmer = Stemmer.Stemmer("english")
    others = bm25s.tokenize([text], stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False)[0]
    assert terms(text) == others


@pytest.mark.parametrize(
    "text, expected",
    [
        ("GitHub", ["github", "git", "hub"]),
        ("PostgreSQL", ["postgresql", "postgr", "sql"]),
        ("iPhone WiFi", ["iphon", "phone", "wifi", "wi", "fi"]),
        ("HTTPServer and PDFs", ["httpserver", "http", "server", "pdfs"]),
        ("HowTo", ["howto", "how"]),
        ("C, C++, C# (.NET)", ["c", "c++", "c#", ".net", "net"]),
        ("C++17 或 Notepad++", ["c++", "17", "或", "notepad++", "notepad"]),
        (
            "学习C语言，R语言和Ｃ＋＋编程",
            [
                "学",
                "习",
                "学习",
                "c",
                "语",
                "言",
                "语言",
                "r",
                "语",
                "言",
                "和",
                "语言",
                "言和",
                "c++",
                "编",
                "程",
                "编程",
            ],
        ),
        ("a+++ b##", []),
        ("Vitamin D, plan A, and I.", ["vitamin", "d", "plan"]),
        ("don't e.g. U.S. X_1 it's", ["don"]),
        ("Python 3.11, v3.12.1 and 1.2.3rc1", ["python", "3.11", "11", "3.12.1", "v3", "12", "3rc1"]),
        ("At 18.10. 1,000.50", ["18.10", "18", "10", "000", "50"]),
        ("The end.Next ...", ["end", "next"]),
    ],
)
def test_names_are_indexed_as_a_whole_and_by_their_parts(text, expected):
    assert terms(text) == expected


def test_a_question_in_lower_case_finds_names():
    names = ["GitHub", "PayPal", "PostgreSQL", "WiFi", "C++", "C#", ".NET", "C", "R", "v3.11"]
    for name, asked in zip(names, [*(name.lower() for name in names[:-1]), "3.11"], strict=True):
        assert set(query_terms(asked)) <= set(terms(f"It is {name}, so.")) and query_terms(asked), name
    assert (terms("x and d'y"), query_terms("x and d'y"), query_terms("a, i")) == ([], ["x"], [])


def test_a_memory_of_the_first_analysis_is_searched_and_grows_with_it(tmp_path, monkeypatch):
    first, texts = "english-snowball+han-1-2-grams-1", ["It lies on GitHub.", "A git hub.", "Nothing."]
    assert terms("readFile GitHub C++ 3.11", first) == ["read", "file", "git", "hub", "11"]
    old = write(tmp_path / "old", texts[:2])
    monkeypatch.setattr(additions, "ANALYSIS", first)
    monkeypatch.setattr(additions, "write_lexical_index", partial(write_lexical_index, analysis=first))
    add_lexical_index(old)
    monkeypatch.undo()
    old = write(tmp_path / "old", [*texts[2:], "GitHub."], first=2)
    assert old.manifest.words == first
    assert verify_memory(old.path) == []

    def found(memory, question):
        return memory.candidates(None, [question], 9)[0].rows.tolist()

    assert (found(old, "GitHub"), found(old, "github")) == ([0, 1, 3], [])
    new = write(tmp_path / "new", texts)
    add_lexical_index(new)
    with pytest.raises(MemoryFormatError, match="different analyses, .* again with: memgpt-index lexical .*old"):
        Shards([Memory.open(new.path), old]).term_statistics(["GitHub"])
    assert found(Shards([old, Memory.open(old.path)]), "hub") == [0, 1, 3, 4, 5, 7]
    add_lexical_index(old)
    again = Memory.open(old.path)
    assert again.manifest.words == ANALYSIS
    assert (found(again, "github"), verify_memory(old.path)) == ([0, 3], [])


def test_chinese_becomes_characters_and_pairs():
    assert terms("readFile(read_file)") == ["readfil", "read", "file", "read", "file"]
    assert terms("公园开门 GPT4") == [*"公园开门", "公园", "园开", "开门", "gpt4"]
    assert terms("我 ab ａｂ") == ["我", "ab", "ab"]


@given(
    st.lists(st.text("ab 公园开c", max_size=20), min_size=1, max_size=30),
    st.integers(1, 7),
)
def test_every_posting_is_where_the_term_is(tmp_path_factory, texts, size):
    folder = tmp_path_factory.mktemp("words")
    entries = passages(texts)
    blocks = [entries[start : start + size] for start in range(0, len(entries), size)]
    written = write_lexical_index(folder / "one", blocks)
    assert write_lexical_index(folder / "other", [entries]) == written == describe(folder / "one"), (
        "whatever the blocks"
    )
    words = InvertedIndex.open(folder / "one", len(entries))
    entry_terms = [terms(one.titled_text) for one in entries]
    assert words.lengths.tolist() == [len(one) for one in entry_terms]
    every = sorted({term.encode() for one in entry_terms for term in one})
    assert [words[place] for place in range(len(words))] == every
    for term in every:
        rows, counts = words.postings(term.decode())
        assert dict(zip(rows.tolist(), counts.tolist())) == {
            row: one.count(term.decode()) for row, one in enumerate(entry_terms) if term.decode() in one
        }
    assert len(words.postings("absent")[0]) == 0


def test_more_than_fits_is_cut_short(tmp_path):
    write_lexical_index(tmp_path / "words", [passages(["word " * 70_000])])
    rows, counts = InvertedIndex.open(tmp_path / "words", 1).postings("word")
    assert (rows.tolist(), counts.tolist()) == ([0], [65_535])


def test_a_memory_without_words_says_how_to_find_them(tmp_path):
    memory = write(tmp_path / "memory", TEXTS)
    with pytest.raises(MemoryFormatError, match=r"has no lexical index; add an index with: memgpt-index lexical"):
        memory.candidates(ENCODER.encode_queries(QUESTIONS), QUESTIONS, 3)


def test_words_of_another_analysis_are_neither_searched_nor_added_to(memory):
    other = dataclasses.replace(memory.manifest, words="another-1", commit=memory.manifest.commit + 1)
    publish(memory.path, other)
    match = (
        "a lexical index of the analysis 'another-1', and this release has .*; add an index with: memgpt-index lexical"
    )
    with pytest.raises(MemoryFormatError, match=match):
        Memory.open(memory.path).term_statistics(QUESTIONS)
    with pytest.raises(MemoryFormatError, match=match):
        write(memory.path, ["More."], first=20)
    assert len(Memory.open(memory.path)) == len(memory)


def test_words_of_other_entries_are_found_out(memory, tmp_path):
    assert verify_memory(memory.path) == []
    first = memory.segments[0]
    path = first.folder / first.described.file("words")
    path.unlink()
    write_lexical_index(path, [passages(TEXTS[1:5] + TEXTS[:1])])  # as many bytes, of other rows
    with pytest.raises(MemoryFormatError, match=r"is not the file that was committed .* memgpt-index compact"):
        Memory.open(memory.path).term_statistics(QUESTIONS)
    # A manifest that has their digest, so that only looking for the words again can tell.
    copy = tmp_path / "copy"
    shutil.copytree(memory.path, copy)
    manifest = json.loads((copy / layout.MANIFEST).read_text())
    described = describe(path)
    manifest["segments"][0]["files"][path.name] = {"bytes": described.bytes, "sha256": described.sha256}
    for file in (copy / layout.MANIFEST, layout.version_path(copy, manifest["commit"])):
        file.write_text(json.dumps(manifest))
    shutil.rmtree(copy / layout.VERSIONS)
    assert any("are not those of its entries" in fault for fault in verify_memory(copy))
    # What both are asked to do helps.
    for folder in (memory.path, copy):
        compact(folder)
        expire(folder, 1)
        assert verify_memory(folder) == []
        assert_equals_oracle(Memory.open(folder))


def test_words_that_an_earlier_version_left_are_not_trusted(tmp_path):
    memory = write(tmp_path / "memory", TEXTS)
    path = memory.segments[0].folder / layout.words_name(ANALYSIS)
    add_lexical_index(memory)
    roll_back(memory.path, 1)
    held = Memory.open(memory.path, version=2)
    assert held.term_statistics(QUESTIONS).entries == len(TEXTS)
    write_lexical_index(path.with_name("other"), [passages(TEXTS[::-1])])
    path.with_name("other").replace(path)
    add_lexical_index(Memory.open(memory.path))
    assert_equals_oracle(Memory.open(memory.path))
    assert_equals_oracle(held)
