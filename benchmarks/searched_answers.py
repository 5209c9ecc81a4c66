"""Do answers get better when entries are searched for by words as well, and looked at again?

    python benchmarks/searched_answers.py            every search on the same questions (half an hour)

The reporting halves of the sets of benchmarks/answers.py, their memories and the preset as it is. Searches are by key alone;
by key and by words; the same with the best --depth looked at again by the language model; and the same with the passages
before and after each entry. Presets are fitted to scores of the search by key: so β, the bias by score, is first multiplied by whichever of --factors
gives each search, that by key too, the lowest NLL on --fitting questions of the other halves.
Each figure is paired per question with the search by key; intervals are 95 %, by bootstrap. NLL
is that of the gold answer per token; F1 counts characters in Chinese; "found" is the share of questions of which an entry
among the first k holds the answer.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import torch
from tqdm import tqdm

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.answer_modes import STATES_BYTES, gold_places, make_examples, measure_memory, with_config
from benchmarks.answers import CHOOSING, REPORTING, build
from benchmarks.question_sets import DATA, SETS, Question, read_set, sample
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.choices import PRESETS
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.encoders.config import DEFAULT_ENCODER
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.evaluation.metrics.significance import interval
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.memory import Memory
from memgpt_rag.model import DEFAULT_GENERATOR, MemoryDecoder
from memgpt_rag.model.prompt import Prompt
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.rerankers import LikelihoodReranker
from memgpt_rag.retrieval.retriever import Search
from memgpt_rag.training.answer_likelihood import answer_losses

FIGURES = ("nll", "em", "f1", "contains", "found")


def searches(model: MemoryDecoder, depth: int) -> dict[str, Search]:
    again = LikelihoodReranker(model, Prompt(model.tokenizer))
    return {
        "dense": Search("dense"),
        "hybrid": Search("hybrid"),
        "hybrid + model": Search("hybrid", reranker=again, depth=depth),
        "hybrid + adjacent": Search("hybrid", adjacent=1),
    }


def measure_set(
    memory: Memory,
    encoder: Encoder,
    model: MemoryDecoder,
    fitting: list[Question],
    asked: list[Question],
    args: argparse.Namespace,
    language: str,
) -> tuple[dict[str, float], dict[str, list[dict[str, float]]]]:
    """The factor of β of each search; and every question with every search, so that what is compared is side by side."""
    rag = RAG(memory, encoder, with_config(model, args.preset))
    rag.model.prefix_ids, preset = rag.prompt.prefix_ids, rag.model.config
    ways = {name: item for name, item in searches(rag.model, args.depth).items() if name in ("dense", *args.searches)}
    factors = {name: best_factor(rag, search, fitting, args) for name, search in ways.items()}
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for question in tqdm(asked, disable=None):
        for name, search in ways.items():
            rag.retriever.search = search
            rag.model.config = replace(preset, score_bias=preset.score_bias * factors[name])
            drafts = rag.drafts([question.text], AskOptions(k=args.k))
            (measured,) = measure_memory(rag, [question], drafts, args.k, language)
            found = gold_places(question, drafts[0].retrieved[: args.k])
            rows[name].append({**measured, "found": float(bool(found))})
    rag.model.config = preset
    return factors, rows


@torch.no_grad()
def best_factor(rag: RAG, search: Search, fitting: list[Question], args: argparse.Namespace) -> float:
    """What to multiply β with, so that known answers are likeliest."""
    rag.retriever.search = search
    losses = dict.fromkeys(args.factors, 0.0)
    for question in fitting if len(losses) > 1 else []:
        (found,) = rag.retriever.retrieve([question.text], args.k)
        for factor in losses:
            (loss,), _ = answer_losses(rag, make_examples([question], [found]), score_bias_factor=factor)
            losses[factor] += float(loss)
    return min(losses, key=losses.__getitem__)


def summarise(rows: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, object]]:
    """Means, and paired differences to the search by key with their intervals."""
    return {
        name: {
            **{figure: round(statistics.fmean(row[figure] for row in item), 4) for figure in FIGURES},
            "against dense": {
                figure: [
                    round(number, 4)
                    for number in interval([mine[figure] - theirs[figure] for mine, theirs in zip(item, rows["dense"])])
                ]
                for figure in FIGURES
            },
        }
        for name, item in rows.items()
    }


def print_table(name: str, count: int, factors: dict[str, float], summary: dict[str, dict]) -> None:
    print(
        f"\n{name}: {count} questions; β times {', '.join(f'{item:g} ({search})' for search, item in factors.items())}"
    )
    print(f"{'search':<22}{'found':>7}{'NLL':>7}{'EM':>7}{'F1':>7}   against dense: found, NLL, EM, F1 (95 %)")
    for search, item in summary.items():
        versus = [
            "{:+.3f} [{:+.3f}, {:+.3f}]".format(*item["against dense"][one]) for one in ("found", "nll", "em", "f1")
        ]
        print(
            f"{search:<22}{item['found']:>7.1%}{item['nll']:>7.3f}{item['em']:>7.1%}{item['f1']:>7.1%}   {'  '.join(versus)}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--questions", type=int, default=100, help="questions per set")
    parser.add_argument("--articles", type=int, nargs="+", default=[100, 100, 100, 20], help="articles per half")
    parser.add_argument("--searches", nargs="+", default=["hybrid", "hybrid + model", "hybrid + adjacent"])
    parser.add_argument("--factors", nargs="+", type=float, default=[0.5, 0.7, 1.0, 1.4, 2.0], help="of β, to try")
    parser.add_argument("--fitting", type=int, default=40, help="questions per set to choose the factor by")
    parser.add_argument("--preset", default="quality", choices=PRESETS)
    parser.add_argument("--depth", type=int, default=10, help="entries that are looked at again")
    parser.add_argument("-k", type=int, default=4, help="entries per question")
    parser.add_argument("--memories", type=Path, default=None, help="folder to keep the memories in for the next time")
    parser.add_argument("--encoder", default=DEFAULT_ENCODER)
    parser.add_argument("--model", default=DEFAULT_GENERATOR)
    parser.add_argument("--data", type=Path, default=DATA)
    args = parser.parse_args()
    quiet_libraries()
    encoder, results = load_encoder(args.encoder), {}
    model = MemoryDecoder.from_pretrained(args.model, states_cache_bytes=STATES_BYTES)
    with tempfile.TemporaryDirectory() as scratch:
        for name, articles in zip(args.sets, cycle(args.articles), strict=False):
            records, per_set = read_set(args.data, name, articles)
            memory = build(name, args.memories or Path(scratch), encoder, records, words=True)
            asked = sample(per_set, REPORTING, args.questions)
            fitting = sample(per_set, CHOOSING, args.fitting)
            factors, rows = measure_set(memory, encoder, model, fitting, asked, args, SETS[name].language)
            results[name] = {"questions": len(asked), "factors": factors, "searches": summarise(rows)}
            print_table(name, len(asked), factors, results[name]["searches"])
    print(json.dumps(results, ensure_ascii=False))


if __name__ == "__main__":
    main()
