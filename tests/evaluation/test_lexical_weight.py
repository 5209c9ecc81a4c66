"""How much words are to weigh, found on judged queries, against the same done by hand."""

from __future__ import annotations

import bm25s
import numpy as np
import pytest
from conftest import ROOT
from hashing import HashEncoder

from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.evaluation.data.beir import read_beir
from memgpt_rag.evaluation.document_memory import embed_documents
from memgpt_rag.evaluation.lexical_weight import WEIGHTS, fit_lexical_weight
from memgpt_rag.evaluation.metrics.retrieval_measures import per_query
from memgpt_rag.evaluation.systems import make_system
from memgpt_rag.memory.lexical.analysis import terms
from memgpt_rag.retrieval.retriever import Search

LIBRARY = read_beir(ROOT / "examples" / "beir")
ENCODER = HashEncoder()
MEASURE = "nDCG@10"


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    return embed_documents(LIBRARY, ENCODER, tmp_path_factory.mktemp("weight") / "memory", words=True)[0]


@pytest.fixture(scope="module")
def fitted(memory):
    return fit_lexical_weight(LIBRARY, memory, ENCODER)


def query_figures(memory, search, **settings):
    system = make_system(search, memory, ENCODER, Search(**settings))
    rankings = system(list(LIBRARY.judged.values()), 50)
    return per_query(LIBRARY, dict(zip(LIBRARY.judged, rankings, strict=True)), [MEASURE])[MEASURE]


def test_each_weight_has_the_figure_of_the_search_with_that_weight(memory, fitted):
    for weight in (0.1, 0.3, 0.65):
        values = query_figures(memory, "hybrid", lexical_weight=weight)
        assert fitted.means[weight] == pytest.approx(np.mean(list(values.values())))
    for weight, search in ((0.0, "dense"), (1.0, "bm25")):
        assert fitted.means[weight] == pytest.approx(np.mean(list(query_figures(memory, search).values())))


def test_the_best_weight_is_the_best_and_is_judged_on_other_queries(memory, fitted):
    assert fitted.means[fitted.best] == max(fitted.means.values())
    queries = list(LIBRARY.judged)
    for half, other in ((0, 1), (1, 0)):
        weight = fitted.halves[half]
        values = query_figures(memory, "bm25" if weight == 1 else "hybrid", lexical_weight=weight)
        for query in queries[other::2]:
            assert fitted.held_out[query] == pytest.approx(values[query])
    alone = max((query_figures(memory, search) for search in ("dense", "bm25")), key=lambda item: sum(item.values()))
    gain = np.mean([fitted.held_out[query] - alone[query] for query in queries])
    assert fitted.against.difference == pytest.approx(gain)
    assert list(fitted.means) == list(WEIGHTS)


def test_documents_found_by_words_are_those_of_bm25s(memory):
    other = bm25s.BM25()
    texts = [f"{title}\n{text}" if title else text for title, text in LIBRARY.documents.values()]
    other.index([terms(text) for text in texts], show_progress=False)
    names = list(LIBRARY.documents)
    rankings = make_system("bm25", memory, ENCODER)(list(LIBRARY.judged.values()), 50)
    for question, ranking in zip(LIBRARY.judged.values(), rankings, strict=True):
        scores = other.get_scores(terms(question))
        assert [score for _, score in ranking] == pytest.approx(sorted(scores[scores > 0], reverse=True), rel=1e-5)
        assert [score for _, score in ranking] == pytest.approx([scores[names.index(name)] for name, _ in ranking])


def test_a_reranker_that_was_not_named_is_missed(memory):
    with pytest.raises(ValueError, match=r"The search 'hybrid\+rerank' needs a reranker; name one with --rerank"):
        make_system("hybrid+rerank", memory, ENCODER)


def test_a_memory_without_words_is_refused(tmp_path):
    memory, _ = embed_documents(LIBRARY, ENCODER, tmp_path / "memory")
    with pytest.raises(MemoryFormatError, match="has no lexical index"):
        make_system("bm25", memory, ENCODER)
    with pytest.raises(MemoryFormatError, match="has no lexical index"):
        fit_lexical_weight(LIBRARY, memory, ENCODER)
