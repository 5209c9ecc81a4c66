"""Systems rank documents as brute force does, whether a document is one entry of a memory or several."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import ROOT
from hashing import HashEncoder

from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.errors import MismatchError
from memgpt_rag.evaluation.data.beir import read_beir
from memgpt_rag.evaluation.data.dataset import Document, RetrievalDataset
from memgpt_rag.evaluation.document_memory import embed_documents, restrict_documents
from memgpt_rag.evaluation.metrics.retrieval_measures import per_query
from memgpt_rag.evaluation.retrieval import evaluate_retrieval
from memgpt_rag.evaluation.systems import RetrieverSystem, make_system
from memgpt_rag.memory import Memory, MemoryWriter
from memgpt_rag.passage import Passage
from memgpt_rag.retrieval.retriever import Retriever, Search

LIBRARY = read_beir(ROOT / "examples" / "beir")


def titled(judged: RetrievalDataset) -> list[str]:
    return [f"{title}\n{text}" if title else text for title, text in judged.documents.values()]


def brute_force(queries: np.ndarray, documents: np.ndarray, names: list[str], k: int) -> list[list[tuple[str, float]]]:
    scores = queries @ documents.T
    return [[(names[at], float(row[at])) for at in np.argsort(-row, kind="stable")[:k]] for row in scores]


def written(folder, passages: list[Passage], encoder) -> Memory:
    with MemoryWriter(folder) as writer:
        writer.add_values(passages)
        for block in writer.value_blocks(100):
            writer.add_keys(encoder.encode_passages([passage.titled_text for passage in block]))
        writer.commit(encoder.fingerprint, splitting={"tokenizer": "none", "max_tokens": 0}, job={"name": "test"})
    return Memory.open(folder)


def entry(number: int, record: str, text: str, source: str = "files") -> Passage:
    return Passage(f"{record}#{number}", text, "", source, record, "line", 1, 1, 0, len(text))


@pytest.mark.parametrize("dimension", [8, 64])
def test_dense_search_is_brute_force_over_whole_documents(tmp_path, dimension):
    encoder = HashEncoder(dimension=dimension)
    memory, costs = embed_documents(LIBRARY, encoder, tmp_path / "memory")
    queries, names = list(LIBRARY.judged.values()), list(LIBRARY.documents)
    vectors = encoder.encode_queries(queries), encoder.encode_passages(titled(LIBRARY))
    expected = brute_force(*vectors, names, 20)
    for ours, theirs, row in zip(
        make_system("dense", memory, encoder)(queries, 20), expected, vectors[0] @ vectors[1].T, strict=True
    ):
        assert [score for _, score in ours] == pytest.approx([score for _, score in theirs], abs=1e-6)
        # Equal scores may come in either order; each document has its own score all the same.
        assert [score for _, score in ours] == pytest.approx([row[names.index(name)] for name, _ in ours], abs=1e-6)
    assert 0 < costs.encoding_seconds < costs.build_seconds
    assert costs.disk_bytes == sum(path.stat().st_size for path in (tmp_path / "memory" / "segments").rglob("*.*"))


@pytest.mark.offline_models
def test_figures_of_minilm_are_those_of_sentence_transformers_and_numpy(tmp_path):
    from sentence_transformers import SentenceTransformer

    from memgpt_rag.hub.bundled import encoder_folder

    encoder = load_encoder("all-MiniLM-L6-v2")
    memory, costs = embed_documents(LIBRARY, encoder, tmp_path / "memory")
    names = ["nDCG@10", "R@10", "AP"]
    measured = evaluate_retrieval(LIBRARY, [make_system("dense", memory, encoder, costs=costs)], measures=names, k=50)
    plain = SentenceTransformer(str(encoder_folder("all-MiniLM-L6-v2")))
    documents = plain.encode(titled(LIBRARY), normalize_embeddings=True, show_progress_bar=False)
    queries = plain.encode(list(LIBRARY.judged.values()), normalize_embeddings=True, show_progress_bar=False)
    run = dict(zip(LIBRARY.judged, brute_force(queries, documents, list(LIBRARY.documents), 50), strict=True))
    assert measured.systems[0].values == per_query(LIBRARY, run, names)
    (system,) = measured.systems
    assert {query: [name for name, _ in item] for query, item in system.run.items()} == {
        query: [name for name, _ in item] for query, item in run.items()
    }
    assert 0.3 < system.means["nDCG@10"][0] < 0.6, "English finds its own language, Chinese is not MiniLM's"


def test_a_document_counts_by_its_best_passage_and_k_documents_are_found(tmp_path):
    encoder = HashEncoder(dimension=256)
    # Twenty passages of one document are all nearer to the query than the only passage of the other two.
    many = [entry(number, "boats", f"rowing boats for hire, {number}") for number in range(20)]
    others = [entry(0, "kites", "kites and strings"), entry(0, "", "rain tomorrow", source="weather.txt")]
    memory = written(tmp_path / "memory", [*many, *others], encoder)
    system = make_system("dense", memory, encoder)
    (ranking,) = system(["rowing boats for hire, 7"], 2)
    assert ranking[0][0] == "boats"
    assert len(ranking) == 2
    assert ranking[0][1] == pytest.approx(1.0)
    (every,) = system(["rowing boats for hire, 7"], 10)
    assert {name for name, _ in every} == {"boats", "kites", "weather.txt"}, "all there are, though ten were asked for"
    assert [score for _, score in every] == sorted((score for _, score in every), reverse=True)
    single, together = system(["kites"], 3), system(["rain", "kites"], 3)
    assert [name for name, _ in single[0]] == [name for name, _ in together[1]]


def test_an_entry_belongs_to_its_record_or_else_to_its_source():
    assert entry(1, "r", "text").document_id == "r"
    assert entry(1, "", "text", source="park.md").document_id == "park.md"


def test_a_memory_is_measured_with_the_documents_that_it_holds(tmp_path):
    encoder = HashEncoder(dimension=256)
    judged = RetrievalDataset(
        "park",
        {name: Document("", name) for name in ("boats", "kites", "gone")},
        {"b": "boats?", "g": "gone?"},
        {"b": {"boats": 1}, "g": {"gone": 1}},
    )
    memory = written(tmp_path / "memory", [entry(0, "boats", "boats"), entry(0, "extra", "not judged")], encoder)
    known, missing = restrict_documents(judged, memory)
    assert set(known.documents) == {"boats", "kites", "gone", "extra"}
    assert missing == 1
    measured = evaluate_retrieval(known, [make_system("dense", memory, encoder)], measures=["RR"], missing_documents=1)
    assert measured.systems[0].values["RR"] == {"b": 1.0, "g": 0.0}, "what the memory lacks is not found"


def test_a_memory_of_other_documents_is_refused(tmp_path):
    encoder = HashEncoder(dimension=256)
    memory = written(tmp_path / "memory", [entry(0, "", "text", source="park.md")], encoder)
    with pytest.raises(
        MismatchError, match=r"belongs to a judged document: .* such as 'park.md', and beir judges such as"
    ):
        restrict_documents(LIBRARY, memory)


def test_another_encoder_or_an_unknown_search_is_refused(tmp_path):
    memory, _ = embed_documents(LIBRARY, HashEncoder(), tmp_path / "memory")
    with pytest.raises(MismatchError, match="This memory was embedded with 'hash'"):
        make_system("dense", memory, HashEncoder(salt=5))
    with pytest.raises(ValueError, match=r"No search 'psychic'; expected one of dense"):
        make_system("psychic", memory, HashEncoder())


def test_a_diverse_ranking_is_measured_in_its_order(tmp_path):
    encoder = HashEncoder()
    memory, _ = embed_documents(LIBRARY, encoder, tmp_path / "memory")
    system, queries = make_system("dense", memory, encoder, Search(diversity=0.7)), list(LIBRARY.judged.values())
    found = Retriever(memory, encoder, Search(diversity=0.7)).retrieve(queries, 10)
    assert any(np.diff([entry.score for entry in entries]).max() > 0 for entries in found), "scores rise and fall"
    for ranking, entries in zip(system(queries, 10), found, strict=True):
        assert [name for name, _ in ranking] == [entry.passage.document_id for entry in entries]
        assert np.diff([score for _, score in ranking]).max() < 0
    evaluate_retrieval(LIBRARY, [system], measures=["RR"])


def test_no_more_passages_are_retrieved_than_a_search_may_give(tmp_path, monkeypatch):
    """Three documents of forty passages each: ten passages are from one of them, and no fourth one comes."""
    encoder = HashEncoder(dimension=64)
    entries = [entry(number, f"d{number // 40}", f"park {number // 40} bench {number}") for number in range(120)]
    memory, asked = written(tmp_path / "memory", entries, encoder), []
    monkeypatch.setattr("memgpt_rag.evaluation.systems.MOST_RETRIEVED", 70)
    for settings in (Search(), Search(adjacent=3)):
        system = make_system("dense", memory, encoder, settings)
        search = system.retriever.retrieve
        monkeypatch.setattr(
            system.retriever, "retrieve", lambda queries, k, search=search: asked.append(k) or search(queries, k)
        )
        (ranking,) = system(["park 1 bench 50"], 10)
        assert 1 <= len(ranking) <= 3 and asked == [10, 20, 40, 70]
        asked.clear()


def test_vectors_of_any_length_are_compared_by_their_distance(tmp_path):
    encoder = HashEncoder(normalized=False)
    memory, _ = embed_documents(LIBRARY, encoder, tmp_path / "memory")
    (ranking,) = RetrieverSystem("distance", Retriever(memory, encoder))([LIBRARY.queries["q1"]], 5)
    distances = np.linalg.norm(
        encoder.encode_passages(titled(LIBRARY)) - encoder.encode_queries([LIBRARY.queries["q1"]]), axis=1
    )
    assert [-score for _, score in ranking] == pytest.approx(np.sort(distances)[:5].tolist(), rel=1e-4)
