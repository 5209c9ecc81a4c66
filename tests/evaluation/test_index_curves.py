"""Queries per second against recall: recalls that can be counted again, and reports that show them."""

from __future__ import annotations

import numpy as np
import pytest
from hashing import HashEncoder

from memgpt_rag.evaluation.data.dataset import Document, RetrievalDataset
from memgpt_rag.evaluation.document_memory import embed_documents
from memgpt_rag.evaluation.index_curves import IndexCurve, index_curves, measured_indexes
from memgpt_rag.evaluation.reports.folder import write_folder
from memgpt_rag.evaluation.reports.pages import to_html, to_markdown
from memgpt_rag.evaluation.reports.report import make_report, read_report
from memgpt_rag.evaluation.reports.tables import searched
from memgpt_rag.evaluation.retrieval import evaluate_retrieval
from memgpt_rag.evaluation.systems import make_system
from memgpt_rag.memory.dense.faiss_index import ApproximateIndex, one_thread
from memgpt_rag.memory.dense.index_kinds import build_indexes
from memgpt_rag.memory.storage.index_settings import IndexSettings

COUNT, DIMENSION, QUERIES = 3000, 32, 150


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def keys() -> np.ndarray:
    rng = np.random.default_rng(5)
    return unit(
        rng.normal(size=(150, DIMENSION))[rng.integers(0, 150, COUNT)] + 0.7 * rng.normal(size=(COUNT, DIMENSION))
    )


@pytest.fixture(scope="module")
def queries(keys) -> np.ndarray:
    rng = np.random.default_rng(6)
    return unit(keys[rng.permutation(COUNT)[:QUERIES]] + 0.1 * rng.normal(size=(QUERIES, DIMENSION)))


@pytest.fixture(scope="module")
def curves(keys, queries) -> list[IndexCurve]:
    return index_curves(keys, queries, "cosine")


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_recalls_are_those_of_each_index_searched_again_beside_numpy(keys, queries, metric):
    likeness = queries @ keys.T if metric == "cosine" else -np.linalg.norm(queries[:, None] - keys[None], axis=2)
    truth = [set(np.argsort(-row)[:10].tolist()) for row in likeness]
    steps: list[str] = []
    exact, *approximate = index_curves(keys, queries, metric, on_step=steps.append)
    assert (exact.index, exact.disk_bytes, exact.points[0].recall) == ("exact", 0, 1.0)
    with one_thread():  # several build another graph each time
        again = {index.settings.factory: index for index, _ in build_indexes(keys, metric, ("ivf", "codes", "hnsw"))}
    assert [curve.index for curve in approximate] == list(again)
    assert len(steps) == 1 + len(again)
    for curve in approximate:
        points = [curve.points[0], curve.points[-1]]
        for point in points:
            settings = IndexSettings(curve.index, point.parameters, point.candidates)
            rows = again[curve.index].with_settings(settings).search(keys, queries, 10)[0]
            recall = np.mean([len(best & set(found.tolist())) / 10 for best, found in zip(truth, rows, strict=True)])
            assert point.recall == pytest.approx(recall, abs=0.01), "a graph is not built alike on every machine"
            assert 0 < point.latency_ms["p50"] <= point.latency_ms["p95"] <= point.latency_ms["p99"]
        assert points[0].recall <= points[1].recall > 0.95
        assert curve.build_seconds > 0


def test_the_size_is_that_of_the_file_of_the_index(keys, curves, tmp_path):
    (curve,) = [item for item in curves if item.index == "SQ8"]
    index = ApproximateIndex.build(keys, IndexSettings("SQ8", "", 1), "cosine")
    with (tmp_path / "index").open("wb") as file:
        index.write(file)
    assert curve.disk_bytes == (tmp_path / "index").stat().st_size > COUNT * DIMENSION


def test_on_the_frontier_is_what_nothing_beats(curves):
    for curve in curves:
        frontier = curve.frontier()
        for point in curve.points:
            beaten = any(
                item.recall >= point.recall and item.queries_per_second > point.queries_per_second
                for item in curve.points
            )
            assert (point in frontier) == (not beaten)
        speeds = [point.queries_per_second for point in frontier]
        assert speeds == sorted(speeds, reverse=True)
        assert [item.recall for item in frontier] == sorted({item.recall for item in frontier})


def test_few_keys_are_not_worth_it(keys, queries):
    with pytest.raises(ValueError, match="There are 999 keys; indexes are measured over 1,000 or more; leave out"):
        index_curves(keys[:999], queries, "cosine")


def test_a_report_shows_them(tmp_path):
    documents = {f"d{number}": Document("", f"text number {number}") for number in range(1200)}
    asked = {f"q{number}": f"text number {number}" for number in range(40)}
    judged = RetrievalDataset("many", documents, asked, {f"q{number}": {f"d{number}": 1} for number in range(40)})
    encoder = HashEncoder(dimension=DIMENSION)
    memory, _ = embed_documents(judged, encoder, tmp_path / "memory")
    indexes = measured_indexes(judged, memory, encoder)
    assert (indexes["keys"], indexes["queries"], indexes["dimension"]) == (1200, 40, DIMENSION)
    evaluation = evaluate_retrieval(judged, [make_system("dense", memory, encoder)], measures=["R@10"])
    report = make_report(evaluation, command="none", source="here", indexes=[indexes])
    write_folder(tmp_path / "report", evaluation, report)
    assert read_report(tmp_path / "report" / "report.json")["indexes"] == report["indexes"]
    table = searched(indexes)
    assert table.rows[0][:2] == ["exact", "1.000"] and table.rows[0][-1] == "–"
    shown = {row[0].split(", ")[0] for row in table.rows}
    assert shown == {curve["index"] for curve in indexes["curves"]}
    title = f"How fast keys of {encoder.name} are searched"
    assert f"## {title}" in to_markdown(report)
    page = to_html(report)
    assert title in page and page.count("<svg") == 3 and f"Recall against queries per second, {encoder.name}" in page
    assert to_html(make_report(evaluation, command="none", source="here")).count("<svg") == 2
