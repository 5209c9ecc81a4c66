"""Does an adapter on what reads memory make answers better?

    python benchmarks/reader.py              trains one and asks with it and without (an hour on one core)

It is trained on one half of XQuAD's articles in English and Chinese and on the trial part of CMRC 2018 (CC BY-SA 4.0,
github.com/ymcui/cmrc2018), each with every paragraph in a memory of its own, and reported on the other half of XQuAD.
Same questions, same entries, same states with the reader and without; differences are paired per question, with 95 %
intervals by bootstrap. NLL is that of the gold answer per token; F1 counts characters in Chinese. Declined is the share
of answers "not in memory"; with the reader, also of the same questions when every entry that contains their answer is
taken away and the next best ones take its place.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.answer_modes import K
from benchmarks.answers import CHOOSING, REPORTING, build
from benchmarks.question_sets import DATA, SETS, Question, read_set, sample
from memgpt_rag.choices import PRESETS
from memgpt_rag.encoders.config import DEFAULT_ENCODER
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.evaluation.metrics.answer_measures import exact_match, f1
from memgpt_rag.evaluation.metrics.significance import interval
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.model import DEFAULT_GENERATOR, MemoryDecoder
from memgpt_rag.model.prompt import NOT_IN_MEMORY
from memgpt_rag.model.reader import load_reader
from memgpt_rag.model.reader_files import READER
from memgpt_rag.rag import RAG
from memgpt_rag.training.adapter import AdapterOptions, train_adapter
from memgpt_rag.training.adapter_examples import holds, make_adapter_examples
from memgpt_rag.training.answer_likelihood import Example, answer_losses

READ = ("xquad-en", "xquad-zh", "cmrc2018")
FIGURES = ("nll", "em", "f1")
BATCH = 10


def thinned(questions: Sequence[Question], count: int) -> list[Question]:
    order = np.random.default_rng(0).permutation(len(questions))[:count]
    return [questions[place] for place in sorted(order)]


def ask(rag: RAG, examples: Sequence[Example], name: str) -> list[str]:
    """The answers written, a batch at a time."""
    texts: list[str] = []
    for start in tqdm(range(0, len(examples), BATCH), desc=name, disable=None):
        part = examples[start : start + BATCH]
        questions, found = [one.question for one in part], [one.found for one in part]
        texts += map(rag.prompt.answer_text, rag.generator.generate_batch(questions, [()] * len(part), found).tokens)
    return texts


@torch.no_grad()
def measure(
    rag: RAG, asked: Sequence[Question], examples: Sequence[Example], language: str, name: str
) -> dict[str, list[float]]:
    """Figures of each question."""
    plain = [replace(one, found=one.found[:K]) for one in examples]
    texts, gold = ask(rag, plain, f"{language}, {name}"), [question.answers for question in asked]
    parts = [plain[start : start + BATCH] for start in range(0, len(plain), BATCH)]
    return {
        "nll": [loss for part in parts for loss in answer_losses(rag, part)[0].tolist()],
        "em": [exact_match(text, item, language) for text, item in zip(texts, gold, strict=True)],
        "f1": [f1(text, item, language) for text, item in zip(texts, gold, strict=True)],
        "declined": declined(texts, language),
    }


def declined(texts: Sequence[str], language: str) -> list[float]:
    return [float(text == NOT_IN_MEMORY[language]) for text in texts]


def report(rag: RAG, asked: dict[str, list[Question]], examples: dict[str, list[Example]]) -> dict[str, Any]:
    """Figures of each language with the reader and without, and how far they are apart."""
    results: dict[str, Any] = {}
    for language, per_language in examples.items():
        with rag.model.reading_with(rag.model.writer):
            before = measure(rag, asked[language], per_language, language, "without")
        after = measure(rag, asked[language], per_language, language, "with")
        removed = [
            replace(one, found=[entry for entry in one.found if not holds(entry, one.answer)][:K])
            for one in per_language
        ]
        declined_rows = declined(ask(rag, removed, f"{language}, no passage"), language)
        results[language] = {
            "questions": len(per_language),
            "without": {figure: round(statistics.fmean(item), 4) for figure, item in before.items()},
            "with": {figure: round(statistics.fmean(item), 4) for figure, item in after.items()},
            "difference": {
                figure: [
                    round(number, 4)
                    for number in interval([b - a for a, b in zip(before[figure], after[figure], strict=True)])
                ]
                for figure in FIGURES
            },
            "declined without passage": round(statistics.fmean(declined_rows), 4),
        }
        show(language, results[language])
    return results


def show(language: str, result: dict[str, Any]) -> None:
    print(f"\n{language}: {result['questions']} questions")
    print(f"{'reader':<10}{'NLL':>8}{'EM':>8}{'F1':>8}{'declined':>10}")
    for name in ("without", "with"):
        item = result[name]
        print(f"{name:<10}{item['nll']:>8.3f}{item['em']:>8.1%}{item['f1']:>8.1%}{item['declined']:>10.1%}")
    shown = [f"{figure} {{:+.3f}} [{{:+.3f}}, {{:+.3f}}]".format(*result["difference"][figure]) for figure in FIGURES]
    print("with − without: " + ", ".join(shown))
    print(f"declined with the reader, passage taken away: {result['declined without passage']:.1%}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=240, help="optimizer steps, of 8 questions each")
    parser.add_argument("--train", type=int, default=10_000, help="at most so many questions of each set to train on")
    parser.add_argument(
        "--held-out", type=int, default=32, help="questions of each XQuAD language that say when to stop"
    )
    parser.add_argument("--questions", type=int, default=100, help="questions per language to report on")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--preset", default="quality", choices=PRESETS)
    parser.add_argument("--reader", type=Path, help="folder to keep the reader in; one that is there is asked")
    parser.add_argument("--memories", type=Path, help="folder to keep the memories in, and to find them in next time")
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    quiet_libraries()
    encoder = load_encoder(DEFAULT_ENCODER)
    model = MemoryDecoder.from_pretrained(
        DEFAULT_GENERATOR, config=arguments.preset, reader=None, states_cache_bytes=8 * 2**30
    )
    with tempfile.TemporaryDirectory() as scratch:
        fitting: list[Example] = []
        held_out: list[Example] = []
        asked, examples = {}, {}
        for name in READ:
            records, questions = read_set(arguments.data, name)
            rag = RAG(build(name, arguments.memories or Path(scratch), encoder, records), encoder, model)
            reported, language = name.startswith("xquad"), SETS[name].language
            if reported:
                asked[language] = sample(questions, REPORTING, arguments.questions)
                examples[language] = found(rag, asked[language])
            questions = [question for question in questions if question.half == CHOOSING]
            articles = sorted({question.article for question in questions})[::4] if reported else []
            for part, count, held in ((fitting, arguments.train, False), (held_out, arguments.held_out, True)):
                half_questions = [question for question in questions if (question.article in articles) == held]
                part += found(rag, thinned(half_questions, count))
        reader, training = arguments.reader or Path(scratch) / "reader", None
        if (reader / READER).exists():
            load_reader(model, reader)
        else:
            training = train(rag, fitting, held_out, reader, arguments)
        results = report(rag, asked, examples)
    print(json.dumps({"training": training, **results}))


def train(
    rag: RAG, fitting: list[Example], held_out: list[Example], reader: Path, arguments: argparse.Namespace
) -> dict[str, float]:
    parts = [make_adapter_examples(part, K) for part in (fitting, held_out)]
    print(f"{len(parts[0])} of {len(fitting)} questions to train on, {len(parts[1])} of {len(held_out)} held out")
    began = time.perf_counter()
    tuning = train_adapter(
        rag,
        *parts,
        reader,
        AdapterOptions(rank=arguments.rank, evaluations=4),
        max_steps=arguments.steps,
        learning_rate=arguments.learning_rate,
        disable_tqdm=not sys.stderr.isatty(),
    )
    minutes = (time.perf_counter() - began) / 60
    print(
        f"held out: {tuning.before:.3f} → {tuning.after:.3f} in {tuning.steps} steps, {minutes:.0f} minutes", flush=True
    )
    return {**vars(tuning), "minutes": round(minutes, 1)}


def found(rag: RAG, questions: Sequence[Question]) -> list[Example]:
    """Each question with more entries than it reads, so that next best ones can take the place of its own."""
    entries = rag.retriever.retrieve([question.text for question in questions], 2 * K + 2) if questions else []
    return [
        Example(question.text, question.answers[0], item) for question, item in zip(questions, entries, strict=True)
    ]


if __name__ == "__main__":
    main()
