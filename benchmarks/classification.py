"""Does a memory of labelled examples classify better than a prompt with the same examples, and than what is simpler?

    python benchmarks/classification.py --kept classification.jsonl        (goes on where it was stopped; an hour and a half on one core)
    python benchmarks/classification.py --sets sst2 --neighbors 8

Three sets: sentiment of sentences (SST-2) and of hotel reviews (ChnSentiCorp), and the field of a paper by its title (CSL, 13 fields, a
set that nothing was chosen on). Examples are drawn from the training part, and the texts to classify from what is held out. Compared are
the language model with the nearest examples in its memory ("memory, model alone"), their vote, and both together as `memgpt-rag
classify` puts them ("memory"), whose three numbers are fitted to examples that do not see themselves; the same examples in the prompt,
nearest last, for the first texts only, since it is slow; the language model without examples ("closed book"); and logistic regression on
the embeddings of the same training examples. "Labels exchanged": every example has the label of another class, and a right answer is that
label. Intervals are 95 %, by bootstrap, of differences paired. ECE is the expected calibration error in ten bins.
A table, and one JSON line last.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.kept_answers import KeptAnswers, Row
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.evaluation.metrics.calibration import calibration_error
from memgpt_rag.evaluation.metrics.significance import interval
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.retrieval.retriever import Retrieved, Retriever
from memgpt_rag.tasks.classification.examples import LABEL, LabelledText, create_memory
from memgpt_rag.tasks.classification.label_likelihood import label_log_likelihoods
from memgpt_rag.tasks.classification.label_words import words_for
from memgpt_rag.tasks.classification.mixture import Evidence, Mixture, fit_mixture
from memgpt_rag.tasks.classification.reading import ExampleReader, example_model

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Task:
    """A set, and how much of it is read.

    Attributes:
        examples: in the memory.
        texts: to classify.
        max_tokens: of a text.
        prompted: texts that are classified by a prompt, by number of examples in it; without examples, all where it is not said.
        remembered: the same for a memory; all where it is not said.
        exchanged: texts that are classified with exchanged labels.
        fit_on: examples that the mixture is fitted to.
    """

    examples: list[LabelledText]
    texts: list[LabelledText]
    max_tokens: int
    prompted: dict[int, int]
    remembered: dict[int, int]
    exchanged: int
    fit_on: int


def sst2(texts: int) -> Task:
    def part(name: str) -> list[LabelledText]:
        lines = (DATA / "sst2" / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
        pairs = (line.rsplit("\t", 1) for line in lines)
        return [LabelledText(text, ("negative", "positive")[int(label)]) for text, label in pairs]

    rng = random.Random(0)
    return Task(rng.sample(part("train"), 500), rng.sample(part("test"), texts), 64, {8: 300, 64: 60}, {}, 300, 100)


def hotels(texts: int) -> Task:
    with (DATA / "chnsenticorp" / "ChnSentiCorp_htl_all.csv").open(encoding="utf-8-sig") as file:
        rows = [(row["review"].strip(), ("差评", "好评")[int(row["label"])]) for row in csv.DictReader(file)]
    distinct = [LabelledText(text, label) for text, label in dict(rows).items() if text]
    drawn = random.Random(0).sample(distinct, 300 + texts)
    return Task(drawn[:300], drawn[300:], 48, {8: 300, 64: 40}, {}, 300, 100)


def fields(texts: int) -> Task:
    lines = (DATA / "csl" / "cls_ctg.train.tsv").read_text(encoding="utf-8").splitlines()
    pairs = dict(line.split("\t")[1:3] for line in lines)
    drawn = random.Random(0).sample([LabelledText(*pair) for pair in pairs.items()], 600 + texts)
    return Task(drawn[:600], drawn[600:], 48, {8: 300, 64: 60}, {}, 300, 100)


SETS: dict[str, Callable[[int], Task]] = {"sst2": sst2, "chnsenticorp": hotels, "csl": fields}


class Measurement:
    """One set: what each system says about its texts, kept as it comes."""

    def __init__(self, name: str, task: Task, model: MemoryDecoder, encoder: Any, kept: KeptAnswers, folder: Path):
        self.name, self.task, self.kept, self.encoder = name, task, kept, encoder
        self.memory = create_memory(folder / name, task.examples, encoder)
        self.labels = sorted({one.label for one in task.examples})
        self.retriever, self.model = Retriever(self.memory, encoder), model

    def reader(self, k: int) -> ExampleReader:
        return ExampleReader(self.retriever, self.model, words_for(self.labels, None), LABEL, k, self.task.max_tokens)

    def with_memory(
        self, system: str, k: int, texts: Sequence[str], *, own: bool = False, exchange: bool = False
    ) -> list[Row]:
        """Read texts with their k nearest examples.

        Args:
            own: the texts are examples themselves, which do not see themselves.
            exchange: give every example the label after its own.
        """
        reader, following = self.reader(k), dict(zip(self.labels, self.labels[1:] + self.labels[:1], strict=True))
        spare = max(Counter(one.text for one in self.task.examples).values()) if own else 0

        def changed(found: Retrieved) -> Retrieved:
            label = following[found.passage.metadata[LABEL]]
            return replace(found, passage=replace(found.passage, metadata={LABEL: label}))

        def read(batch: Sequence[str]) -> Iterator[Row]:
            began, found = time.perf_counter(), reader.neighbors(batch, spare=spare)
            if exchange:
                found = [[changed(one) for one in near] for near in found]
            evidence, _ = reader.read(batch, found)
            seconds = (time.perf_counter() - began) / len(batch)
            for likelihoods, scores, labels in zip(
                evidence.log_likelihoods, evidence.scores, evidence.labels, strict=True
            ):
                yield {
                    "said": likelihoods.tolist(),
                    "scores": scores.tolist(),
                    "labels": labels.tolist(),
                    "seconds": seconds,
                }

        return self._kept(system, texts, read)

    def with_prompt(self, system: str, k: int, texts: Sequence[str]) -> list[Row]:
        """Read texts behind their k nearest examples, the nearest one last; behind nothing where k is 0."""
        reader = self.reader(max(k, 1))

        def read(batch: Sequence[str]) -> Iterator[Row]:
            began, rows = time.perf_counter(), []
            for text, near in zip(batch, reader.neighbors(batch) if k else [()] * len(batch), strict=True):
                examples = [reader.words.example_ids(one.passage.text, reader.label(one)) for one in reversed(near)]
                rows.append([*(token for example in examples for token in example), *reader.words.text_ids(text)])
            nothing = self.model.make_memory([[] for _ in rows])
            said = label_log_likelihoods(self.model, rows, nothing, reader.words.label_ids).tolist()
            seconds = (time.perf_counter() - began) / len(batch)
            yield from ({"said": one, "seconds": seconds} for one in said)

        return self._kept(system, texts, read, batch_size=1 if k > 8 else 4)

    def regression(self) -> np.ndarray:
        """Probabilities of logistic regression on the embeddings of the examples, its strength chosen by cross-validation."""
        from sklearn.linear_model import LogisticRegressionCV

        keys = self.memory.keys(self.memory.rows())
        fitted = LogisticRegressionCV(
            Cs=8, cv=3, max_iter=2000, scoring="neg_log_loss", l1_ratios=(0.0,), use_legacy_attributes=False
        )
        fitted.fit(keys, [one.label for one in self.task.examples])
        assert fitted.classes_.tolist() == self.labels
        return np.asarray(fitted.predict_proba(self.encoder.encode_passages([one.text for one in self.task.texts])))

    def numbers(self, texts: Sequence[LabelledText]) -> np.ndarray:
        return np.array([self.labels.index(one.label) for one in texts])

    def _kept(self, system: str, texts: Sequence[str], read: Callable[..., Any], batch_size: int = 8) -> list[Row]:
        items = [(f"{self.name}|{system}|{number}", text) for number, text in enumerate(texts)]
        return self.kept.fill(items, read, f"{self.name}: {system}", batch_size)


def stacked_evidence(rows: Sequence[Row]) -> Evidence:
    return Evidence(*(np.array([row[name] for row in rows]) for name in ("said", "scores", "labels")))


def normalized(likelihoods: Sequence[Sequence[float]]) -> np.ndarray:
    said = np.exp(np.array(likelihoods) - np.max(likelihoods, axis=1, keepdims=True))
    return np.asarray(said / said.sum(axis=1, keepdims=True))


def figures(probabilities: np.ndarray, right: np.ndarray, seconds: Sequence[float] = ()) -> dict[str, Any]:
    correct = probabilities.argmax(axis=1) == right[: len(probabilities)]
    return {
        "texts": len(correct),
        "accuracy": [round(number, 4) for number in interval(correct.astype(float).tolist())],
        "ece": round(calibration_error(probabilities.max(axis=1).tolist(), correct.tolist()), 4),
        "seconds": round(statistics.median(seconds), 3) if len(seconds) else None,
        "correct": correct,
    }


def measured(item: Measurement, neighbors: Sequence[int]) -> dict[str, Any]:
    """Figures of every system on one set."""
    task, right = item.task, item.numbers(item.task.texts)
    texts = [one.text for one in task.texts]
    closed = item.with_prompt("closed book", 0, texts[: task.prompted.get(0)])
    systems = {
        "closed book": figures(normalized([row["said"] for row in closed]), right, [row["seconds"] for row in closed]),
        "logistic regression": figures(item.regression(), right),
    }
    held = random.Random(1).sample(task.examples, task.fit_on)
    fitted = {}
    for k in neighbors:
        rows = item.with_memory(f"memory {k}", k, texts[: task.remembered.get(k)])
        own = item.with_memory(f"examples {k}", k, [one.text for one in held], own=True)
        mixture = fit_mixture(stacked_evidence(own), item.numbers(held))
        evidence, seconds, fitted[str(k)] = stacked_evidence(rows), [row["seconds"] for row in rows], mixture.to_dict()
        systems[f"memory, {k}"] = figures(mixture(evidence), right, seconds)
        systems[f"memory, {k}, model alone"] = figures(Mixture(1.0, 0.0)(evidence), right)
        systems[f"vote of {k}"] = figures(Mixture(0.0, 1.0, mixture.temperature)(evidence), right)
        prompted = item.with_prompt(f"prompt {k}", k, texts[: task.prompted[k]])
        said = normalized([row["said"] for row in prompted])
        systems[f"prompt, {k}"] = figures(said, right, [row["seconds"] for row in prompted])
        if k == min(neighbors):
            other = stacked_evidence(item.with_memory(f"exchanged {k}", k, texts[: task.exchanged], exchange=True))
            exchanged = (right + 1) % len(item.labels)
            systems[f"labels exchanged: memory, {k}"] = figures(mixture(other), exchanged)
            systems[f"labels exchanged: memory, {k}, model alone"] = figures(Mixture(1.0, 0.0)(other), exchanged)
    _compare(systems, neighbors)
    return {"examples": len(task.examples), "labels": len(item.labels), "mixtures": fitted, "systems": systems}


def _compare(systems: dict[str, Any], neighbors: Sequence[int]) -> None:
    """Add the differences of memory to the others, each on the texts that both have, and drop what was right one by one."""
    correct = {name: figure.pop("correct").astype(float) for name, figure in systems.items()}
    for k in neighbors:
        mine = correct[f"memory, {k}"]
        systems[f"memory, {k}"]["against"] = {
            other: [
                round(number, 4) for number in interval([one - another for one, another in zip(mine, correct[other])])
            ]
            for other in (
                "closed book",
                f"prompt, {k}",
                f"vote of {k}",
                "logistic regression",
                f"memory, {k}, model alone",
            )
        }


def print_table(name: str, result: dict[str, Any]) -> None:
    print(f"\n{name}: {result['examples']} examples of {result['labels']} labels")
    print(f"{'system':<42}{'texts':>6}{'accuracy (95 %)':>24}{'ECE':>7}{'s a text':>10}")
    for system, one in result["systems"].items():
        accuracy = "{:.3f} [{:.3f}, {:.3f}]".format(*one["accuracy"])
        seconds = "" if one["seconds"] is None else f"{one['seconds']:.2f}"
        print(f"{system:<42}{one['texts']:>6}{accuracy:>24}{one['ece']:>7.3f}{seconds:>10}")
    for system, one in result["systems"].items():
        for other, difference in one.get("against", {}).items():
            print(f"{system} against {other}: " + "{:+.3f} [{:+.3f}, {:+.3f}]".format(*difference), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--neighbors", nargs="+", type=int, choices=(8, 64), default=[8, 64])
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--kept", type=Path, help="file that keeps what the model said")
    arguments = parser.parse_args()
    quiet_libraries()
    encoder, kept = load_encoder(), KeptAnswers(arguments.kept)
    model = example_model(MemoryDecoder.from_pretrained(reader=None))
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.sets:
            item = Measurement(name, SETS[name](arguments.texts), model, encoder, kept, Path(folder))
            results[name] = measured(item, arguments.neighbors)
            print_table(name, results[name])
    print(json.dumps({"benchmark": "classification", "model": model.name, "sets": results}, ensure_ascii=False))


if __name__ == "__main__":
    main()
