"""Is it known when the memory does not hold an answer, which entry an answer rests on, and which inputs need no memory?

    python benchmarks/abstention.py fit --save       fits both decisions on one half of the articles
    python benchmarks/abstention.py report           says how well they hold on the other half

Each question is answered twice: from the four entries found, and from the four that are found when all entries of its
paragraph are gone. "Not in memory" is right in the second case. Area is that under the ROC curve: how often an answer
without support gets the lower number of a pair. Intervals are 95 %, by bootstrap over questions. A citation is right where
the first cited entry is of the question's paragraph; only questions whose paragraph was found count. With --query auto,
questions with support ought to be read and small talk, sums and everyday statements ought not; those without may or not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.answers import CHOOSING, REPORTING, K, build
from benchmarks.question_sets import DATA, LANGUAGES, Question, read_set, sample
from benchmarks.small_talk import inputs_without_need
from memgpt_rag.answering.answer import Answer
from memgpt_rag.answering.confidence import (
    FITTED,
    GENERAL,
    best_threshold,
    precision_recall,
    read_confidence,
    save_confidence,
)
from memgpt_rag.answering.draft import Draft
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.answering.signals import SCORED_CANDIDATES
from memgpt_rag.choices import DEFAULT_MAX_NEW_TOKENS, PRESETS
from memgpt_rag.encoders.config import DEFAULT_ENCODER
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.evaluation.metrics.answer_measures import holds_any
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.model import DEFAULT_GENERATOR, MemoryDecoder
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.retriever import Retrieved
from memgpt_rag.training.fit_confidence import (
    SUPPORTED,
    Fit,
    Observation,
    fit,
)

NEEDED = ("score", "lead", "overlap", "overlap_lead", "question_mass")
# What means something with one encoder, or one model and preset, only: general decisions do without.
PARTICULAR = ("score", "mass", "question_mass")
BATCH = 8

Found = Sequence[list[Retrieved]]


def without_support(questions: Sequence[Question], found: Found) -> Found:
    """What is left without the entries of each question's paragraph."""
    return [
        [entry for entry in of if entry.passage.record != question.record]
        for question, of in zip(questions, found, strict=True)
    ]


def answers_from(
    rag: RAG, questions: Sequence[str], found: Found, what: str, max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS
) -> list[Answer]:
    drafts = [Draft(question, entries) for question, entries in zip(questions, found, strict=True)]
    answers: list[Answer] = []
    for start in tqdm(range(0, len(questions), BATCH), desc=what, disable=None):
        answers += rag.answer_from(drafts[start : start + BATCH], AskOptions(k=K, max_new_tokens=max_new_tokens))
    return answers


def observe(rag: RAG, questions: Sequence[Question], language: str, half: int, data: Path) -> dict[str, Any]:
    """Both kinds of answers, and what "auto" looks at for questions with and without support and for other inputs."""
    texts = [question.text for question in questions]
    found = rag.retriever.retrieve(texts, 4 * SCORED_CANDIDATES)
    supported = answers_from(rag, texts, found, f"{language} with support")
    unsupported = answers_from(rag, texts, without_support(questions, found), f"{language} without")
    auto = {
        kind: [answer.signals for answer in of]
        for kind, of in (("questions", supported), ("questions without support", unsupported))
    }
    for kind, inputs in inputs_without_need(language, half, data).items():
        answers = answers_from(
            rag,
            inputs,
            rag.retriever.retrieve(inputs, SCORED_CANDIDATES),
            f"{language} {kind}",
            max_new_tokens=1,
        )
        auto[kind] = [answer.signals for answer in answers]
    return {"with": supported, "without": unsupported, "auto": auto}


def fit_all(rags: dict[str, RAG], questions: dict[str, list[Question]], data: Path, save: bool) -> None:
    """Fit both decisions on both languages at once, for these models and, where memory is read in all layers, in general."""
    supported: list[Observation] = []
    needed: list[Observation] = []
    for language, asked in questions.items():
        seen = observe(rags[language], asked, language, CHOOSING, data)
        for kind in ("with", "without"):
            for question, answer in zip(asked, seen[kind], strict=True):
                supported.append(Observation(answer.signals, kind == "with", (f"article {question.article}", "")))
        for kind, figures in seen["auto"].items():
            if kind == "questions without support":
                continue  # the memory cannot help them: read or not, both are right
            for number, of in enumerate(figures):
                asks = kind == "questions"
                document = f"article {asked[number].article}" if asks else f"{language} {kind} {number}"
                needed.append(Observation(of, asks, (document, "")))
    rag, summary = next(iter(rags.values())), {}
    keys: dict[str, tuple[str, ...]] = {rag.confidence_key: ()}
    if rag.model.config.layers == "all":
        keys[GENERAL] = PARTICULAR
    for key, left_out in keys.items():
        fits: dict[str, Fit] = {
            "needed": fit(needed, [name for name in NEEDED if name not in left_out]),
            "supported": fit(supported, [name for name in SUPPORTED if name not in left_out]),
        }
        for name, got in fits.items():
            weights = ", ".join(f"{figure} {of.weight:+.2f}" for figure, of in got.decision.weights.items())
            print(
                f"{key}, {name}: precision {got.precision:.3f} and recall {got.recall:.3f} of no, held out; "
                f"threshold {got.decision.threshold}; {weights}"
            )
        if save:
            save_confidence(FITTED, key, **{name: got.decision for name, got in fits.items()})
        summary[key] = {name: {"precision": got.precision, "recall": got.recall} for name, got in fits.items()}
    print(json.dumps(summary))


def report(rags: dict[str, RAG], questions: dict[str, list[Question]], data: Path) -> None:
    results = {}
    for language, asked in questions.items():
        rag = rags[language]
        seen = observe(rag, asked, language, REPORTING, data)
        results[language] = {
            "questions": len(asked),
            "abstention": abstention(rag, seen["with"], seen["without"]),
            "citation": citation(asked, seen["with"], language),
            "auto": {
                kind: round(statistics.fmean(rag.confidence.needs_memory(of) for of in figures), 3)
                for kind, figures in seen["auto"].items()
            },
        }
        print_table(language, results[language])
    print(json.dumps(results, ensure_ascii=False))


def abstention(rag: RAG, supported: Sequence[Answer], unsupported: Sequence[Answer]) -> dict[str, Any]:
    """How well each way of judging tells answers without support: the fitted one, the general one, single figures.

    A single figure gets the threshold that is best for the very answers it is judged by, which flatters it.
    """
    figures = [answer.signals for answer in (*supported, *unsupported)]
    labels = [True] * len(supported) + [False] * len(unsupported)
    general = read_confidence(FITTED)[GENERAL]["supported"]
    rows = {
        "fitted": judged([rag.confidence.supported(of) for of in figures], labels, rag.confidence.supported.threshold),
        "general": judged([general(of) for of in figures], labels, general.threshold),
    }
    for name in SUPPORTED:
        values = [getattr(of, name) for of in figures]
        values = [0.0 if value != value else value for value in values]  # not known
        sign = 1 if area(values, labels) >= 0.5 else -1
        values = [sign * value for value in values]
        rows[f"{name} alone"] = judged(values, labels, best_threshold(values, labels))
    return rows


def judged(values: Sequence[float], labels: Sequence[bool], threshold: float) -> dict[str, Any]:
    no, truly = np.asarray(values) < threshold, ~np.asarray(labels)
    precision, recall = precision_recall(no.tolist(), truly.tolist())
    half, rng = len(labels) // 2, np.random.default_rng(0)  # the first half is the second one with support
    drawn = rng.integers(0, half, (2000, half))
    drawn = np.concatenate([drawn, drawn + half], axis=1)
    both, said = (no & truly)[drawn].sum(1), no[drawn].sum(1)
    return {
        "precision": round(precision, 3),
        "recall": round(recall, 3),
        "area": round(area(values, labels), 3),
        "precision 95 %": np.percentile(both / np.maximum(1, said), [2.5, 97.5]).round(3).tolist(),
        "recall 95 %": np.percentile(both / half, [2.5, 97.5]).round(3).tolist(),
    }


def area(values: Sequence[float], labels: Sequence[bool]) -> float:
    """Area under the ROC curve: how often a supported answer has the higher value; ties count half."""
    yes, no = (
        np.asarray([value for value, label in zip(values, labels, strict=True) if label is kind])
        for kind in (True, False)
    )
    return float((yes[:, None] > no).mean() + (yes[:, None] == no).mean() / 2)


def citation(questions: Sequence[Question], answers: Sequence[Answer], language: str) -> dict[str, Any]:
    """Of questions whose paragraph was read, how often it is cited first; also of those answered correctly."""
    cited = [
        (
            answer.citations[0].passage.record == question.record,
            holds_any(answer.text, question.answers),
        )
        for question, answer in zip(questions, answers, strict=True)
        if any(one.passage.record == question.record for one in answer.citations)
    ]
    best = [
        max(answer.citations, key=lambda one: one.score).passage.record == question.record
        for question, answer in zip(questions, answers, strict=True)
        if any(one.passage.record == question.record for one in answer.citations)
    ]
    right = [first for first, correct in cited if correct]
    return {
        "paragraph read": len(cited),
        "cited first": round(statistics.fmean(first for first, _ in cited), 3),
        "retrieved first": round(statistics.fmean(best), 3),
        "answered correctly": len(right),
        "cited first where correct": round(statistics.fmean(right), 3),
    }


def print_table(language: str, result: dict[str, Any]) -> None:
    print(f"\n{language}: {result['questions']} questions, each with and without its paragraph in the memory")
    print(f"{'not in memory, by':<20}{'precision':>24}{'recall':>24}{'area':>8}")
    for name, row in result["abstention"].items():
        shares = ["{:.3f} [{:.3f}, {:.3f}]".format(row[of], *row[f"{of} 95 %"]) for of in ("precision", "recall")]
        print(f"{name:<20}{shares[0]:>24}{shares[1]:>24}{row['area']:>8.3f}")
    print("citation: " + ", ".join(f"{name} {value}" for name, value in result["citation"].items()))
    print("read by auto: " + ", ".join(f"{kind} {share:.1%}" for kind, share in result["auto"].items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["fit", "report"])
    parser.add_argument("--questions", type=int, default=300, help="questions per language")
    parser.add_argument("--languages", nargs="+", default=list(LANGUAGES), choices=LANGUAGES)
    parser.add_argument("--preset", default="quality", choices=PRESETS)
    parser.add_argument("--save", action="store_true", help="what was fitted becomes what holds for these models")
    parser.add_argument("--encoder", default=DEFAULT_ENCODER)
    parser.add_argument("--model", default=DEFAULT_GENERATOR)
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    quiet_libraries()
    encoder = load_encoder(arguments.encoder)
    model = MemoryDecoder.from_pretrained(arguments.model, config=arguments.preset)
    half = CHOOSING if arguments.what == "fit" else REPORTING
    with tempfile.TemporaryDirectory() as scratch:
        rags, questions = {}, {}
        for language in arguments.languages:
            records, of_language = read_set(arguments.data, f"xquad-{language}")
            rags[language] = RAG(build(language, Path(scratch), encoder, records), encoder, model)
            questions[language] = sample(of_language, half, arguments.questions)
        if arguments.what == "fit":
            fit_all(rags, questions, arguments.data, arguments.save)
        else:
            report(rags, questions, arguments.data)


if __name__ == "__main__":
    main()
