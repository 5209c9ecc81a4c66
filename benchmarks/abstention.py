"""Is it known when the memory does not hold an answer or an answer is wrong, which entry it rests on, and what needs no memory?

    python benchmarks/abstention.py fit --save       fits both decisions on one half of the articles
    python benchmarks/abstention.py report           says how well they hold on the other half

    --sets xquad-en xquad-zh cmrc2018 covid_qa news --reader auto --search hybrid --answers FILE

Each question is asked of a memory with its paragraph and of one or two without (benchmarks/observed_answers.py): "easy", without that
paragraph, and "same topic", with nothing but other passages of the same article. Labels are "supported", whether the memory holds the
answer, and "right", whether the answer is right. Area is that under the ROC curve of each label: how often an answer with it gets
the higher number of a pair. Intervals are 95 %, by bootstrap over questions. "Reliability" gives, in ten bins, how likely answers were
said to be supported, and the share that had the label. Where the reader declines to answer, that is said with 0, and fitted only to signals
that are known before its first token, which then say where it may not decline. A citation is right where the first cited entry is of the question's
paragraph; only questions whose paragraph was found count. With --query auto, questions with support ought to be read and small talk,
sums and everyday statements ought not; those without may or not.

Answers are kept in --answers: a fit to other signals, or a run that was stopped, does not ask again.
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

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.answer_modes import K
from benchmarks.answers import CHOOSING, REPORTING, build
from benchmarks.decision_figures import area, area_interval, decided, reliability
from benchmarks.how_to import load_model
from benchmarks.kept_answers import KeptAnswers
from benchmarks.observed_answers import (
    ASKED_SETS,
    EASY,
    NEGATIVES,
    WITH,
    Observed,
    language_of_set,
    observe,
    read_asked_set,
    signals_of_inputs,
)
from benchmarks.question_sets import DATA, sample
from benchmarks.small_talk import inputs_without_need
from memgpt_rag.answering.confidence import (
    FITTED,
    GENERAL,
    GENERAL_READER,
    best_threshold,
    read_confidence,
    save_confidence,
)
from memgpt_rag.answering.signals import BEFORE_ANSWER, SIGNALS, Signals
from memgpt_rag.choices import DEFAULT_MAX_NEW_TOKENS, PRESETS, SEARCH_KINDS
from memgpt_rag.encoders.config import DEFAULT_ENCODER
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.model import DEFAULT_GENERATOR
from memgpt_rag.rag import RAG
from memgpt_rag.retrieval.retriever import Search
from memgpt_rag.training.fit_confidence import SUPPORTED, Fit, Observation, fit

NEEDED = ("score", "lead", "overlap", "overlap_lead", "question_mass")
# What means something with one encoder, or one model and preset, only: general decisions do without.
PARTICULAR = ("score", "mass", "question_mass")
# What may tell an answer among passages of one topic, besides.
CANDIDATES = (*SUPPORTED, *(name for name in SIGNALS if name not in (*SUPPORTED, *NEEDED)))
LABELS = ("supported", "right")

Seen = dict[str, tuple[list[Observed], dict[str, list[Signals]]]]


def is_positive(one: Observed, label: str) -> bool:
    return one.right if label == "right" else one.kind == WITH


def chosen(observed: Sequence[Observed], negatives: Sequence[str]) -> list[Observed]:
    """Answers with support, and those of some negatives; questions that lack one of them are left out."""
    kinds: dict[int, set[str]] = {}
    for one in observed:
        kinds.setdefault(id(one.question), set()).add(one.kind)
    wanted = {WITH, *negatives}
    return [one for one in observed if one.kind in wanted and wanted <= kinds[id(one.question)]]


def fit_all(rag: RAG, seen: Seen, arguments: argparse.Namespace) -> None:
    """Fit both decisions on all sets at once, for these models and, where memory is read in all layers, in general."""
    # What is known before the first token does not depend on the answer, so that answers that decline are fitted to, too.
    before = set(arguments.signals) <= set(BEFORE_ANSWER)
    supported: list[Observation] = []
    needed: list[Observation] = []
    for name, (observed, auto) in seen.items():
        for one in observed:
            if one.kind in (WITH, *arguments.negatives) and (before or not one.declined):
                document = (f"{name} article {one.question.article}", "")
                supported.append(Observation(one.signals, is_positive(one, arguments.label), document))
            if one.kind == WITH:  # the memory cannot help the others: read or not, both are right
                needed.append(Observation(one.signals, True, (f"{name} article {one.question.article}", "")))
        needed += [
            Observation(signals, False, (f"{name} {kind} {place}", ""))
            for kind, item in auto.items()
            for place, signals in enumerate(item)
        ]
    summary = {}
    keys: dict[str, tuple[str, ...]] = {rag.confidence_key: ()}
    if rag.model.config.layers == "all":
        keys[GENERAL if rag.model.reader is None else GENERAL_READER] = PARTICULAR
    for key, left_out in keys.items():
        fits: dict[str, Fit] = {
            "needed": fit(needed, [name for name in NEEDED if name not in left_out]),
            "supported": fit(supported, [name for name in arguments.signals if name not in left_out]),
        }
        for name, got in fits.items():
            weights = ", ".join(f"{figure} {item.weight:+.2f}" for figure, item in got.decision.weights.items())
            print(
                f"{key}, {name}: precision {got.precision:.3f} and recall {got.recall:.3f} of no, held out; "
                f"threshold {got.decision.threshold}; {weights}"
            )
        if arguments.save:
            save_confidence(FITTED, key, **{name: got.decision for name, got in fits.items()})
        summary[key] = {
            name: {"precision": got.precision, "recall": got.recall, "decision": got.decision.to_dict()}
            for name, got in fits.items()
        }
    print(json.dumps(summary))


def report(rag: RAG, seen: Seen) -> None:
    results: dict[str, Any] = {}
    parts = {name: observed for name, (observed, _) in seen.items()}
    if len(parts) > 1:
        parts["all"] = [one for observed in parts.values() for one in observed]
    for name, observed in parts.items():
        results[name] = {"questions": sum(one.kind == WITH for one in observed), **abstention(rag, observed)}
        if name in seen:
            results[name]["citation"] = citation(observed)
            results[name]["auto"] = {
                kind: round(statistics.fmean(rag.confidence.needs_memory(one) for one in item), 3)
                for kind, item in {
                    "questions": [one.signals for one in observed if one.kind == WITH],
                    "questions without support": [one.signals for one in observed if one.kind == EASY],
                    **seen[name][1],
                }.items()
            }
        print_table(name, results[name])
    print(json.dumps(results, ensure_ascii=False))


def abstention(rag: RAG, observed: Sequence[Observed]) -> dict[str, Any]:
    """How well each way of judging tells answers apart: the fitted one, the general one, single signals.

    A single signal gets the direction and the threshold that are best for the very answers it is judged by, which flatters it.
    """
    general = read_confidence(FITTED)[GENERAL if rag.model.reader is None else GENERAL_READER]["supported"]
    found: dict[str, Any] = {"areas": {}, "reliability": {}}
    for negatives in NEGATIVES:
        item = chosen(observed, [negatives])
        for label in LABELS:
            labels = [is_positive(one, label) for one in item]
            title = f"{label}, {negatives}"
            if len(set(labels)) < 2:
                continue
            groups = [id(one.question) for one in item]
            rows: dict[str, Any] = {}
            for way, decision in (("fitted", rag.confidence.supported), ("general", general)):
                before = decision.weights.keys() <= set(BEFORE_ANSWER)
                values = [0.0 if one.declined and not before else decision(one.signals) for one in item]
                rows[way] = {
                    "area": area_interval(values, labels, groups),
                    **decided(values, labels, decision.threshold),
                }
                found["reliability"][f"{title}, {way}"] = reliability(values, labels)
            for name in CANDIDATES:
                rows[f"{name} alone"] = alone([getattr(one.signals, name) for one in item], labels)
            found["areas"][title] = {"answers": len(item), "yes": sum(labels), "ways": rows}
    return found


def alone(values: Sequence[float], labels: Sequence[bool]) -> dict[str, Any]:
    """The area of a single signal; what is not known counts as the mean of the others."""
    known = [value for value in values if value == value]
    if not known:
        return {"area": [float("nan")], "precision": float("nan"), "recall": float("nan")}
    mean = statistics.fmean(known)
    values = [value if value == value else mean for value in values]
    sign = 1 if area(values, labels) >= 0.5 else -1
    values = [sign * value for value in values]
    return {"area": [round(area(values, labels), 3)], **decided(values, labels, best_threshold(values, labels))}


def citation(observed: Sequence[Observed]) -> dict[str, Any]:
    """Of questions whose paragraph was read, how often it is cited first; also of those answered correctly."""
    read = [one for one in observed if one.kind == WITH and one.question.record in one.records]
    first = [one.records[0] == one.question.record for one in read]
    right = [is_first for is_first, one in zip(first, read, strict=True) if one.right]
    return {
        "paragraph read": len(read),
        "cited first": round(statistics.fmean(first), 3) if first else None,
        "retrieved first": round(statistics.fmean(one.best == one.question.record for one in read), 3)
        if read
        else None,
        "answered correctly": len(right),
        "cited first where correct": round(statistics.fmean(right), 3) if right else None,
    }


def print_table(name: str, result: dict[str, Any]) -> None:
    print(
        f"\n{name}: {result['questions']} questions, each asked of a memory with its paragraph and of memories without"
    )
    for title, item in result["areas"].items():
        print(f"{title}: {item['answers']} answers, {item['yes']} of them {title.split(',')[0]}")
        print(f"    {'by':<22}{'area':>24}{'precision of no':>18}{'recall of no':>14}")
        for way, row in item["ways"].items():
            shown = (
                "{:.3f}".format(*row["area"])
                if len(row["area"]) == 1
                else "{:.3f} [{:.3f}, {:.3f}]".format(*row["area"])
            )
            print(f"    {way:<22}{shown:>24}{row['precision']:>18.3f}{row['recall']:>14.3f}")
    for title, curve in result["reliability"].items():
        bins = "  ".join("{said:.2f}→{true:.2f} ({answers})".format(**one) for one in curve["bins"])
        print(f"reliability, {title}: error {curve['error']:.3f}; {bins}")
    for part in ("citation", "auto"):
        if part in result:
            print(f"{part}: " + ", ".join(f"{name} {value}" for name, value in result[part].items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["fit", "report"])
    parser.add_argument("--questions", type=int, default=300, help="questions per set")
    parser.add_argument("--inputs", type=int, default=100, help="inputs without need per kind and language")
    parser.add_argument("--sets", nargs="+", default=["xquad-en", "xquad-zh"], choices=ASKED_SETS)
    parser.add_argument("--articles", type=int, help="articles, or events, per half of a set; all without it")
    parser.add_argument("--negatives", nargs="+", default=list(NEGATIVES), choices=NEGATIVES, help="what to fit on")
    parser.add_argument("--label", default="supported", choices=LABELS, help="what the confidence is to say")
    parser.add_argument(
        "--signals", nargs="+", choices=CANDIDATES, help="what to fit; by default what fits a reader, or none"
    )
    parser.add_argument("--preset", default="quality", choices=PRESETS)
    parser.add_argument("--reader", default="auto", help="auto, none, or the folder of a reader")
    parser.add_argument("--search", default="dense", choices=SEARCH_KINDS)
    parser.add_argument(
        "--max-new-tokens",
        type=int,
        default=DEFAULT_MAX_NEW_TOKENS,
        help="of an answer; 1 is enough to fit signals that are known before it",
    )
    parser.add_argument("--save", action="store_true", help="what was fitted becomes what holds for these models")
    parser.add_argument("--answers", type=Path, help="file that keeps the answers for the next time")
    parser.add_argument("--memories", type=Path, help="folder to keep the memories in for the next time")
    parser.add_argument("--encoder", default=DEFAULT_ENCODER)
    parser.add_argument("--model", default=DEFAULT_GENERATOR)
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    quiet_libraries()
    encoder, model = load_encoder(arguments.encoder), load_model(arguments.preset, arguments.reader, arguments.model)
    arguments.signals = arguments.signals or (SUPPORTED if model.reader is None else BEFORE_ANSWER)
    half = CHOOSING if arguments.what == "fit" else REPORTING
    kept, seen = KeptAnswers(arguments.answers), {}
    words = arguments.search != "dense"
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.memories or Path(scratch)
        for name in arguments.sets:
            records, questions = read_asked_set(arguments.data, name, arguments.articles)
            memory = build(name, folder, encoder, records, words=words)
            rag = RAG(memory, encoder, model, search=Search(arguments.search))
            key = f"{rag.confidence_key}, reader {arguments.reader}, k {K}"
            if arguments.max_new_tokens != DEFAULT_MAX_NEW_TOKENS:
                key = f"{key}, {arguments.max_new_tokens} tokens"
            asked = sample(questions, half, arguments.questions)
            observed = observe(rag, name, asked, kept, key, max_new_tokens=arguments.max_new_tokens)
            language = language_of_set(name)
            first = language not in map(language_of_set, seen)  # its inputs are the same in every set
            inputs = inputs_without_need(language, half, arguments.data) if first else {}
            inputs = {kind: texts[: arguments.inputs] for kind, texts in inputs.items()}
            seen[name] = observed, signals_of_inputs(rag, inputs, kept, f"{key}; {name}, half {half}")
        if arguments.what == "fit":
            fit_all(rag, seen, arguments)
        else:
            report(rag, seen)


if __name__ == "__main__":
    main()
