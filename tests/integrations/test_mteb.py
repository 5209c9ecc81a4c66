"""MTEB measures our searches and encoders as `memgpt-rag eval retrieval` does."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from commands import refused, run
from conftest import ROOT
from hashing import HashEncoder, LetterEncoder

from memgpt_rag.errors import SourceError
from memgpt_rag.evaluation.data.beir import read_beir
from memgpt_rag.evaluation.data.dataset import Document
from memgpt_rag.evaluation.data.scores import from_scores
from memgpt_rag.evaluation.document_memory import embed_documents
from memgpt_rag.evaluation.metrics.retrieval_measures import per_query
from memgpt_rag.evaluation.systems import make_system
from memgpt_rag.retrieval.rerankers import Reranker
from memgpt_rag.retrieval.retriever import Search

mteb = pytest.importorskip("mteb", reason="mteb is not installed; see CONTRIBUTING.md")

from memgpt_rag.integrations.mteb import MemGPTEncoder, MemGPTSearch, dataset_task

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
LIBRARY = read_beir(ROOT / "examples" / "beir")
ENCODER = HashEncoder()
MEASURES = {
    "ndcg_at_10": "nDCG@10",
    "recall_at_10": "R@10",
    "recall_at_100": "R@100",
    "mrr_at_10": "RR@10",
    "map_at_100": "AP",
    "precision_at_5": "P@5",
}


class SharedWords(Reranker):
    """Rates a passage by the words that it shares with the question."""

    name, weight = "shared words", 0.5

    def rate(self, question, passages):
        asked = set(question.lower().split())
        return np.array(
            [len(asked & set(one.text.lower().split())) + 0.1 * len(one.text) % 1 for one in passages], float
        )

    score_scale = 1.0


def figures(model, task) -> dict[str, float]:
    (result,) = mteb.evaluate(model, task, cache=None, co2_tracker=False, show_progress_bar=False).task_results
    ((scores,),) = result.scores.values()
    return {MEASURES[name]: scores[name] for name in MEASURES}


def means(run, judged=LIBRARY) -> dict[str, float]:
    values = per_query(judged, run, list(MEASURES.values()))
    return {name: float(np.mean(list(by_query.values()))) for name, by_query in values.items()}


@pytest.mark.parametrize("search", ["dense", "bm25", "sparse", "hybrid", "dense+rerank", "hybrid+rerank"])
def test_a_search_has_the_figures_of_our_own_evaluation(tmp_path, search):
    letters = LetterEncoder()
    settings = Search(sparse_encoder=letters, reranker=SharedWords(), depth=10)
    memory, _ = embed_documents(LIBRARY, ENCODER, tmp_path / "memory", words=True, sparse_encoder=letters)
    rankings = make_system(search, memory, ENCODER, settings)(list(LIBRARY.judged.values()), 100)
    ours = means(dict(zip(LIBRARY.judged, rankings, strict=True)))
    assert figures(MemGPTSearch(ENCODER, search, settings), dataset_task(LIBRARY)) == pytest.approx(ours, abs=1e-5)
    assert 0.05 < ours["nDCG@10"] < 0.95, "no ranking is perfect, or everything would be equal"


def test_an_encoder_has_the_figures_of_brute_force():
    plain = replace(
        LIBRARY, documents={name: Document("", document.text) for name, document in LIBRARY.documents.items()}
    )
    queries, names = list(plain.judged.values()), list(plain.documents)
    texts = [document.text for document in plain.documents.values()]
    encoder = HashEncoder(dimension=512)
    scores = encoder.encode_queries(queries) @ encoder.encode_passages(texts).T
    found = {
        query: dict(zip(names, row.tolist(), strict=True)) for query, row in zip(plain.judged, scores, strict=True)
    }
    run = from_scores(found)  # equal scores by id, as in MTEB
    assert figures(MemGPTEncoder(encoder), dataset_task(plain)) == pytest.approx(means(run, plain), abs=1e-5)


def test_queries_and_passages_have_their_own_prompts():
    encoder = HashEncoder(query_prompt="query: ")
    batches = [{"text": ["A boat.", "A kite."]}, {"text": ["A bench."]}]
    texts = ["A boat.", "A kite.", "A bench."]
    model = MemGPTEncoder(encoder)
    np.testing.assert_array_equal(
        model.encode(batches, prompt_type=mteb.types.PromptType.document), encoder.encode_passages(texts)
    )
    np.testing.assert_array_equal(model.encode(batches), encoder.encode_queries(texts))
    assert isinstance(model, mteb.models.EncoderProtocol)
    assert isinstance(MemGPTSearch(encoder), mteb.models.SearchProtocol)


def test_a_reranking_task_ranks_its_own_candidates_only():
    model, task = MemGPTSearch(ENCODER), dataset_task(LIBRARY)
    task.load_data()
    split = task.dataset["default"]["test"]
    given = {
        "task_metadata": task.metadata,
        "hf_split": "test",
        "hf_subset": "default",
        "encode_kwargs": {},
        "num_proc": None,
    }
    model.index(split["corpus"], **given)
    whole = model.search(split["queries"], top_k=50, **given)
    candidates = {query: list(found)[::-7] for query, found in whole.items()}
    candidates[next(iter(candidates))] = []
    among = model.search(split["queries"], top_k=5, top_ranked=candidates, **given)
    for query, found in among.items():
        assert list(found) == [name for name in whole[query] if name in candidates[query]][:5]
        assert [whole[query][name] for name in found] == pytest.approx(list(found.values()), abs=1e-6)


def test_equal_scores_keep_their_order_in_mteb(tmp_path):
    """Every text is found twice, with equal scores; MTEB would order these by id."""
    documents = {f"{name}-{copy}": document for name, document in LIBRARY.documents.items() for copy in "ab"}
    judgements = {
        query: {f"{name}-a": grade for name, grade in grades.items()} for query, grades in LIBRARY.judgements.items()
    }
    doubled = replace(LIBRARY, documents=documents, judgements=judgements)
    memory, _ = embed_documents(doubled, ENCODER, tmp_path / "memory")
    rankings = make_system("dense", memory, ENCODER)(list(doubled.judged.values()), 100)
    run = dict(zip(doubled.judged, rankings, strict=True))
    assert any(one[1] == other[1] for found in run.values() for one, other in pairwise(found))
    assert figures(MemGPTSearch(ENCODER), dataset_task(doubled)) == pytest.approx(means(run, doubled), abs=1e-5)


def test_documents_with_one_id_are_refused():
    task = dataset_task(LIBRARY)
    rows = [{"id": "d", "text": "One."}, {"id": "d", "text": "Two."}]
    with pytest.raises(SourceError, match="The documents of beir have the id 'd' twice"):
        MemGPTSearch(ENCODER).index(rows, task_metadata=task.metadata)


def test_documents_that_are_no_texts_are_refused():
    pictures = next(task for task in mteb.get_tasks(task_types=["Any2AnyRetrieval"]) if task.metadata.category == "t2i")
    with pytest.raises(SourceError, match="are no texts alone; name a task of texts"):
        MemGPTSearch(ENCODER).index([], task_metadata=pictures.metadata)


def test_the_leaderboard_gets_what_is_known_and_no_path_of_this_machine(tmp_path):
    from memgpt_rag.integrations.mteb.model_meta import model_meta

    fingerprint = replace(ENCODER.fingerprint, name="multilingual-e5-small-4bit")
    meta = model_meta(fingerprint, "hybrid", {"lexical_weight": 0.25}, "1")
    assert meta.name == "memgpt_rag/hybrid-multilingual-e5-small-4bit"
    assert (meta.adapted_from, meta.license, meta.model_type) == ("intfloat/multilingual-e5-small", "mit", ["hybrid"])
    assert "MSMARCO" in meta.training_datasets
    assert meta.experiment_kwargs == {"lexical_weight": 0.25}
    folder = tmp_path / "my-encoder"
    folder.mkdir()
    unknown = model_meta(replace(fingerprint, name=str(folder)), "dense", {}, "1")
    assert (unknown.name, unknown.adapted_from, unknown.training_datasets) == (
        "memgpt_rag/dense-my-encoder",
        None,
        None,
    )
    dense, encoder = MemGPTSearch(ENCODER).mteb_model_meta, MemGPTEncoder(ENCODER).mteb_model_meta
    assert dense == encoder, "one entry of a leaderboard"
    weights = [MemGPTSearch(ENCODER, "hybrid", Search(lexical_weight=weight)).mteb_model_meta for weight in (0.2, 0.3)]
    assert weights[0].revision != weights[1].revision


@pytest.mark.offline_models
def test_the_command_writes_results_in_the_form_of_the_leaderboard(tmp_path):
    library = ROOT / "examples" / "beir"
    done = run("memgpt-rag", "eval", "mteb", library, "--encoder", "all-MiniLM-L6-v2", "--output", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    shown = float(done.stdout.splitlines()[2].split()[3])
    (file,) = (tmp_path / "results").glob("results/memgpt_rag__dense-all-MiniLM-L6-v2/*/beir.json")
    scores = json.loads(file.read_text(encoding="utf-8"))["scores"]["test"][0]
    assert shown == pytest.approx(scores["main_score"], abs=5e-5)
    assert json.loads((file.parent / "model_meta.json").read_text())["name"] == "memgpt_rag/dense-all-MiniLM-L6-v2"


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ([], 2, "Name a task, or a benchmark with --benchmark."),
        (["SciFactt"], 1, "MTEB has no task 'SciFactt', and no dataset is there; did you mean SciFact?"),
        (["STSBenchmark", "--search", "bm25"], 1, "STSBenchmark is a task of STS, which searches nothing"),
        (["SciFact", "SciFact"], 1, "Two of the tasks are called 'SciFact'"),
        (["SciFact", "--search", "hybrid+rerank"], 2, "A search with +rerank needs a reranker"),
        pytest.param(["--benchmark", "Mine"], 1, "MTEB has no benchmark 'Mine'", marks=pytest.mark.slow),
    ],
)
def test_what_there_is_not_is_refused_before_a_model_is_loaded(arguments, status, says):
    assert says in refused("memgpt-rag", "eval", "mteb", *arguments, status=status)


@pytest.mark.offline_models
def test_without_a_connection_a_task_of_mteb_is_refused_in_one_sentence(tmp_path):
    shown = refused(
        *("memgpt-rag", "eval", "mteb", "SciFact", "--encoder", "all-MiniLM-L6-v2", "--output", tmp_path / "results")
    )
    assert "The data of SciFact cannot be had (" in shown
    assert "name a dataset of yours by its path" in shown
