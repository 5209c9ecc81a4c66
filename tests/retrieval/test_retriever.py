"""From a question to entries: each way of searching against the same done by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bm25_oracle import bm25s_scores
from hashing import HashEncoder, passage

from indexing.engines.local import LocalEngine
from indexing.jobs.build_memory import build_memory
from indexing.passages.split_passages import PassageSplitter
from indexing.sources.find_files import find_files
from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.memory import Candidates, Memory, MemoryWriter, add_lexical_index
from memgpt_rag.memory.lexical.analysis import terms
from memgpt_rag.retrieval.fusion import fuse
from memgpt_rag.retrieval.mmr import mmr_order
from memgpt_rag.retrieval.rerankers import Reranker
from memgpt_rag.retrieval.retriever import Retriever, Search

ENCODER = HashEncoder()
TEXTS = [
    "The ferry to Moss Island leaves at 7:40.",
    "The ferry back from Moss Island leaves at 18:10.",
    "Boats are rented at the pier for forty yuan an hour.",
    "公园早上六点开门，晚上九点关门。",
    "公园里可以划船，划船每小时四十元。",
    "The island has a lighthouse, and lighthouses burn.",
    "Ferries of the island are painted green.",
]
QUESTIONS = ["When does the ferry to the island leave?", "公园几点开门？", "How much does a boat cost?"]


class Shortest(Reranker):
    """Rates a passage by how short it is; its score scale is 1."""

    name, score_scale, weight = "shortest", 1.0, 0.25

    def rate(self, question, passages):
        return np.array([-len(one.text) for one in passages], np.float32)


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    folder = tmp_path_factory.mktemp("retrieve") / "memory"
    with MemoryWriter(folder) as writer:
        writer.add_values([replace(passage(number, text), title="") for number, text in enumerate(TEXTS)])
        for block in writer.value_blocks(3):
            writer.add_keys(ENCODER.encode_passages([one.titled_text for one in block]))
        writer.commit(ENCODER.fingerprint, splitting={"tokenizer": "hash", "max_tokens": 160}, job={"name": "build"})
    add_lexical_index(Memory.open(folder))
    return Memory.open(folder)


@pytest.fixture(scope="module")
def by_key(memory):
    return ENCODER.encode_queries(QUESTIONS) @ memory.keys().T


@pytest.fixture(scope="module")
def by_words():
    return np.stack([bm25s_scores(TEXTS, question) for question in QUESTIONS])


def rows(found):
    return [[entry.row for entry in item] for item in found]


def order(scores, k):
    return np.argsort(-scores, axis=1, kind="stable")[:, :k].tolist()


def test_a_dense_search_goes_by_cosine(memory, by_key):
    found = Retriever(memory, ENCODER, Search("dense")).retrieve(QUESTIONS, 4)
    assert rows(found) == order(by_key, 4)
    for item, scores in zip(found, by_key, strict=True):
        for entry in item:
            assert entry.score == pytest.approx(scores[entry.row], abs=1e-6)
            assert entry.normalized_score == pytest.approx(entry.score / ENCODER.fingerprint.score_scale, rel=1e-5)
            assert entry.passage.text == TEXTS[entry.row]


def test_a_search_by_words_goes_by_bm25_and_finds_no_strangers(memory, by_words):
    found = Retriever(memory, ENCODER, Search("bm25")).retrieve(QUESTIONS, 7)
    for item, scores in zip(found, by_words, strict=True):
        assert [entry.row for entry in item] == [row for row in np.argsort(-scores, kind="stable") if scores[row] > 0]
        np.testing.assert_allclose([entry.score for entry in item], [scores[entry.row] for entry in item], rtol=1e-5)


def idf(term):
    holding = sum(term in terms(text) for text in TEXTS)
    return np.log(1 + (len(TEXTS) - holding + 0.5) / (holding + 0.5))


@pytest.fixture(scope="module")
def limits():
    """What BM25 would be of an entry that said nothing but the question's terms, for ever."""
    return np.array([[sum(map(idf, terms(question)))] for question in QUESTIONS])


def test_rare_words_count_more_in_what_a_question_shares_with_a_text(memory):
    retriever = Retriever(memory, ENCODER, Search("hybrid"))
    questions = ["Is the island's ferry painted green?", "公园几点开门？", "Zebras?", "Is it?"]
    shares = retriever.rare_overlaps(questions, [TEXTS[0], TEXTS[3], TEXTS[0], TEXTS[0]])
    asked = set(terms(questions[0]))
    both = sum(map(idf, asked & set(terms(TEXTS[0])))) / sum(map(idf, asked))
    assert shares[0] == pytest.approx(both)
    assert 0 < both < len(asked & set(terms(TEXTS[0]))) / len(asked)
    assert 0 < shares[1] < 1 and shares[2] == 0
    assert np.isnan(shares[3])  # none of its words is a term
    assert np.isnan(Retriever(memory, ENCODER, Search("dense")).rare_overlaps(["ferry"], ["ferry"])).all()


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_hybrid_search_adds_both_scores(memory, by_key, by_words, limits, weight):
    score_scale = ENCODER.fingerprint.score_scale
    assert (by_words < limits).all()
    expected = (1 - weight) * by_key / score_scale + weight * 2 * by_words / limits
    found = Retriever(memory, ENCODER, Search("hybrid", lexical_weight=weight)).retrieve(QUESTIONS, 7)
    for item, scores in zip(found, expected, strict=True):
        np.testing.assert_allclose([entry.score for entry in item], -np.sort(-scores), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose([scores[entry.row] for entry in item], -np.sort(-scores), rtol=1e-4, atol=1e-5)


def test_ranks_are_fused_by_their_reciprocals(memory, by_key, by_words):
    found = Retriever(memory, ENCODER, Search("hybrid", fusion="ranks")).retrieve(QUESTIONS, 7)
    for item, near, worded in zip(found, by_key, by_words, strict=True):
        place = {row: 1 / (61 + rank) for rank, row in enumerate(np.argsort(-near, kind="stable"))}
        for rank, row in enumerate(np.argsort(-worded, kind="stable")):
            place[row] += 1 / (61 + rank) if worded[row] > 0 else 0
        assert [entry.row for entry in item] == sorted(place, key=lambda row: (-place[row], row))
        for entry in item:
            assert entry.score == pytest.approx(place[entry.row] * 61 / 2)


def test_words_that_nobody_shares_change_nothing():
    candidates = Candidates(np.arange(3), np.array([0.5, 0.2, 0.1]), np.zeros(3), 0.0, np.zeros(3))
    np.testing.assert_allclose(fuse(candidates, "scores", 0.1, 0.4), [3.0, 1.2, 0.6])


def test_a_reranker_alone_orders_what_it_looks_at_and_leaves_the_rest_behind(memory, by_key):
    search = Search("dense", reranker=Shortest(), rerank_weight=1, depth=3)
    for item, near in zip(Retriever(memory, ENCODER, search).retrieve(QUESTIONS, 6), order(by_key, 6), strict=True):
        assert [entry.row for entry in item] == [*sorted(near[:3], key=lambda row: len(TEXTS[row])), *near[3:]]
        assert (np.diff([entry.normalized_score for entry in item]) <= 0).all()


def test_a_reranker_is_weighed_against_the_search(memory, by_key):
    search = Search("dense", reranker=Shortest(), depth=7)  # with the weight that it says itself
    lengths = np.array([len(text) for text in TEXTS])
    expected = 0.75 * by_key / ENCODER.fingerprint.score_scale - 0.25 * lengths
    assert rows(Retriever(memory, ENCODER, search).retrieve(QUESTIONS, 7)) == order(expected, 7)


def test_diversity_is_maximal_marginal_relevance(rng):
    keys = rng.normal(size=(30, 8))
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    relevance = rng.normal(size=30)
    for share in (0.0, 0.3, 0.8, 1.0):
        chosen = []
        for _ in range(12):
            gains = {
                place: (1 - share) * relevance[place]
                + share * (1 - max([0.0, *(float(keys[place] @ keys[other]) for other in chosen)]))
                for place in range(30)
                if place not in chosen
            }
            chosen.append(max(gains, key=gains.__getitem__))
        assert mmr_order(relevance, keys, 12, share).tolist() == chosen
    assert mmr_order(relevance, keys, 99, 0).tolist() == np.argsort(-relevance, kind="stable").tolist()
    with pytest.raises(ValueError, match=r"diversity is 1.5; expected 0 to 1"):
        mmr_order(relevance, keys, 3, 1.5)


def test_diverse_entries_say_different_things(memory):
    plain = Retriever(memory, ENCODER, Search("dense")).retrieve(TEXTS[:1], 2)
    assert rows(plain) == [[0, 1]], "two of the same ferry"
    diverse = Retriever(memory, ENCODER, Search("dense", diversity=0.9)).retrieve(TEXTS[:1], 2)
    assert rows(diverse)[0][0] == 0 and rows(diverse)[0][1] != 1


@pytest.mark.parametrize(
    "settings", [{"kind": "bm25"}, {"kind": "hybrid"}, {"reranker": Shortest()}, {"diversity": 0.5}]
)
def test_a_condition_holds_in_every_search(memory, settings):
    found = Retriever(memory, ENCODER, Search(**settings)).retrieve(QUESTIONS, 5, where="first >= 4")
    assert all(entry.row >= 4 for item in found for entry in item)
    assert any(found)


def test_a_search_that_cannot_be_is_refused(memory, tmp_path):
    for settings, match in [
        ({"kind": "psychic"}, "no search 'psychic'; expected one of auto, dense, bm25, hybrid, sparse"),
        ({"fusion": "sum"}, "no fusion 'sum'; expected one of scores, ranks"),
        ({"lexical_weight": 2}, "lexical_weight is 2; expected 0 to 1"),
        ({"diversity": -1}, "diversity is -1; expected 0 to 1"),
        ({"depth": 0}, "depth is 0; expected 1 to 1,000"),
    ]:
        with pytest.raises(ValueError, match=match):
            Search(**settings)
    with MemoryWriter(tmp_path / "m") as writer:
        writer.add_values([passage(0)])
        for block in writer.value_blocks(1):
            writer.add_keys(ENCODER.encode_passages([one.titled_text for one in block]))
        writer.commit(ENCODER.fingerprint, splitting={"tokenizer": "hash", "max_tokens": 9}, job={"name": "build"})
    without = Memory.open(tmp_path / "m")
    with pytest.raises(MemoryFormatError, match="has no lexical index"):
        Retriever(without, ENCODER, Search("hybrid"))
    assert Retriever(without, ENCODER).search == Search("dense")


def test_by_default_a_search_is_hybrid_where_there_is_a_lexical_index(memory):
    usual, hybrid = Retriever(memory, ENCODER), Retriever(memory, ENCODER, Search("hybrid"))
    assert usual.search == Search("hybrid") and usual.search.key == hybrid.search.key != ""
    assert usual.retrieve(QUESTIONS, 5) == hybrid.retrieve(QUESTIONS, 5)
    settings = Search(diversity=0.5)
    assert settings.resolved(memory) == Search("hybrid", diversity=0.5)
    assert settings.kind == "auto", "the settings serve other memories, too"


@pytest.fixture(scope="module")
def manual(tmp_path_factory):
    """A manual of two chapters in passages of a sentence or two."""
    folder = tmp_path_factory.mktemp("manual")
    sentences = [
        f"Step {number} is to turn the {word} wheel." for number, word in enumerate(["red", "blue", "green"] * 3)
    ]
    text = f"# Wheels\n\n{' '.join(sentences)}\n\n# Levers\n\nStep 99 is to pull the red lever.\n"
    (folder / "manual.md").write_text(text)
    engine = LocalEngine(ENCODER, PassageSplitter(ENCODER.count_tokens, 10))
    build_memory(find_files([folder / "manual.md"]), folder / "memory", engine=engine, tokenizer_name="hash")
    return Memory.open(folder / "memory"), " ".join(sentences)


@pytest.mark.parametrize("reach", [1, 2, 50])
def test_neighbours_are_joined_as_they_stand_in_the_document(manual, reach):
    memory, text = manual
    alone = memory.passages(memory.rows())
    found = Retriever(memory, ENCODER, Search(adjacent=reach)).retrieve(["Step 4 blue wheel", "red lever"], 3)
    for item in found:
        covered = [row for entry in item for row in (entry.joined or (entry.row,))]
        assert len(covered) >= len(item)
        for entry in item:
            parts = entry.joined or (entry.row,)
            assert entry.row in parts and len(parts) <= 2 * reach + 1
            assert entry.joined_ids == tuple(alone[row].id for row in entry.joined)
            assert entry.passage.id == alone[entry.row].id, "what was found gives its id"
            assert {alone[row].title for row in parts} == {entry.passage.title}
            assert (entry.passage.start, entry.passage.end) == (alone[parts[0]].start, alone[parts[-1]].end)
            if entry.passage.title == "Wheels":
                first = text.index(alone[parts[0]].text)
                assert entry.passage.text == text[first : first + len(entry.passage.text)]
        places = [entry.row for entry in item]
        assert len(set(places)) == len(places)
    if reach == 50:
        assert found[0][0].passage.text == text
        assert found[1][0].passage.text == "Step 99 is to pull the red lever.", "another heading is not joined"


def test_a_neighbour_that_was_deleted_is_not_jumped_over(manual, tmp_path):
    import shutil

    from memgpt_rag.memory.changes import delete_entries

    memory, _ = manual
    folder = tmp_path / "memory"
    shutil.copytree(memory.path, folder)
    delete_entries(folder, np.array([2]), Memory.open(folder).manifest)
    found = Retriever(Memory.open(folder), ENCODER, Search(adjacent=9)).retrieve(["Step 0 red wheel"], 1)[0][0]
    assert found.row in (0, 1) and found.joined == (0, 1)
