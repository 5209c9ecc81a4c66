"""Do answers get better when passages sit in attention instead of in the prompt?

    python benchmarks/answers.py choose      which β, τ, b and m are best on one half of the articles (about an hour)
    python benchmarks/answers.py report      every mode on the other half, with the presets as they are (about an hour)

All modes see the same passages, the same question and the same words around them: closed book; prompt with the best
passage; prompt with the best four, best last; memory with the presets quality and compact, with and without the bias by
retrieval score. NLL is that of the gold answer per token; F1 counts characters in Chinese. Each figure is paired per
question against the prompt with four passages and with one; intervals are 95 %, by bootstrap. Time to first token
starts when passages are found and, in memory modes, their states are ready; the shared prefix is cached in every mode.
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

import torch
from tqdm import tqdm

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.xquad import DATA, LANGUAGES, Question, contains_answer, exact_match, f1, interval, read_xquad, sample
from indexing.build_memory import build_memory
from indexing.read_documents import find_files
from indexing.split_passages import PassageSplitter
from memgpt_rag.answer import RAG
from memgpt_rag.command_line import quiet_libraries
from memgpt_rag.encoder import DEFAULT_ENCODER, Encoder, load_encoder
from memgpt_rag.memory import Memory
from memgpt_rag.model import DEFAULT_GENERATOR, PRESETS, MemGPT, MemoryAttentionConfig
from memgpt_rag.prompt import language_of
from memgpt_rag.retrieve import Retrieved, attend

CHOOSING, REPORTING = 0, 1
K = 4


def build(language: str, folder: Path, data: Path, encoder: Encoder, model: MemGPT) -> tuple[Memory, list[Question]]:
    """One memory of all paragraphs of a language, by the index job itself."""
    records, questions = read_xquad(data, language)
    source = folder / f"xquad.{language}.jsonl"
    source.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    tokenizer = model.tokenizer
    splitter = PassageSplitter(lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"]))
    report = build_memory(
        find_files([source]), folder / language, encoder=encoder, splitter=splitter, tokenizer_name=DEFAULT_GENERATOR, progress=True
    )
    print(f"{language}: {report.sentence()}", file=sys.stderr)
    return Memory.open(folder / language), questions


def answer_ids(rag: RAG, question: Question) -> list[int]:
    """Tokens of the gold answer as it follows the question."""
    space = "" if language_of(question.text) == "zh" else " "
    return list(rag.model.tokenizer(space + question.answers[0], add_special_tokens=False)["input_ids"])


@torch.no_grad()
def gold_nll(rag: RAG, questions: Sequence[Question], found: Sequence[Sequence[Retrieved]], pasted: int = 0, batch: int = 8) -> list[float]:
    """Negative log-likelihood of each gold answer per token. `pasted` passages stand in the prompt, the rest in memory."""
    losses = []
    for start in range(0, len(questions), batch):
        part, entries = questions[start : start + batch], found[start : start + batch]
        golds = [answer_ids(rag, question) for question in part]
        rows = [rag.question_row(question.text, of[:pasted]) + gold for question, of, gold in zip(part, entries, golds, strict=True)]
        width = max(map(len, rows))
        ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        memory = attend(rag.model, rag.prompt, [[] if pasted else of for of in entries])
        logits = rag.model(ids, mask, memory=memory, logits_to_keep=max(map(len, golds)) + 1).logits
        for of_row, gold in zip(logits, golds, strict=True):
            likelihood = torch.log_softmax(of_row[-len(gold) - 1 : -1].float(), dim=-1)
            losses.append(-float(likelihood[torch.arange(len(gold)), gold].mean()))
    return losses


def choose(rags: dict[str, RAG], questions: dict[str, list[Question]]) -> None:
    """Coordinate search for each preset: change one number at a time and keep what lowers the mean NLL."""
    model = next(iter(rags.values())).model
    found = {language: rags[language].retriever.retrieve([q.text for q in questions[language]], K) for language in rags}

    def loss(config: MemoryAttentionConfig) -> float:
        model.config = config
        return statistics.fmean(statistics.fmean(gold_nll(rags[language], questions[language], found[language])) for language in rags)

    chosen = {}
    for name, start in (
        ("quality", MemoryAttentionConfig(layers="all", score_bias=13.0, top_m=16)),
        ("compact", MemoryAttentionConfig(layers="global", score_bias=13.0, top_m=32)),
    ):
        attended = len(start.resolve(model.windows))
        per_layer = name == "compact"
        if per_layer:
            start = replace(start, inverse_temperature=(1.15,) * attended, offset=(0.0,) * attended)
        best, config = loss(start), start
        print(f"{name}: start {best:.4f} {config}", flush=True)
        for sweep in range(2):
            before = best
            for candidate in neighbours(config, attended if per_layer else 0, fine=sweep > 0):
                varied = candidate(config)
                if varied != config and (got := loss(varied)) < best - 1e-4:
                    best, config = got, varied
                    print(f"{name}: {best:.4f} {config}", flush=True)
            if before - best < 1e-3:
                break
        chosen[name] = {"nll": round(best, 4), "config": {key: getattr(config, key) for key in config.__dataclass_fields__}}
    print(json.dumps(chosen))


def neighbours(config: MemoryAttentionConfig, layers: int, *, fine: bool) -> list[Any]:
    """Changes to try, each a function of the configuration that holds when its turn comes."""

    def put(value: tuple[float, ...], place: int, number: float) -> tuple[float, ...]:
        return (*value[:place], number, *value[place + 1 :])

    changes: list[Any] = []
    if layers:
        for place in reversed(range(layers)):
            for tau in (0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.45):
                changes.append(lambda c, p=place, t=tau: replace(c, inverse_temperature=put(c.inverse_temperature, p, t)))
            for step in (-1.0, 1.0, 2.0) if not fine else (-0.5, 0.5):
                changes.append(lambda c, p=place, s=step: replace(c, offset=put(c.offset, p, c.offset[p] + s)))
    else:
        changes += [lambda c, t=tau: replace(c, inverse_temperature=t) for tau in (0.95, 1.0, 1.05, 1.1)]
        changes += [lambda c, b=offset: replace(c, offset=b) for offset in (0.0, 0.5, 1.0)]
    changes += [lambda c, m=m: replace(c, top_m=m) for m in (8, 16, 32, 64, None)]
    changes += [lambda c, b=beta: replace(c, score_bias=b) for beta in (6.0, 10.0, 13.0, 20.0, 30.0)]
    return changes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["choose", "report"])
    parser.add_argument("--questions", type=int, default=None, help="questions per language (150 to choose, 300 to report)")
    parser.add_argument("--languages", nargs="+", default=list(LANGUAGES), choices=LANGUAGES)
    parser.add_argument("--encoder", default=DEFAULT_ENCODER)
    parser.add_argument("--model", default=DEFAULT_GENERATOR)
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    quiet_libraries()
    encoder, model = load_encoder(arguments.encoder), MemGPT.from_pretrained(arguments.model)
    half = CHOOSING if arguments.what == "choose" else REPORTING
    count = arguments.questions or (150 if arguments.what == "choose" else 300)
    with tempfile.TemporaryDirectory() as scratch:
        rags, questions = {}, {}
        for language in arguments.languages:
            memory, of_language = build(language, Path(scratch), arguments.data, encoder, model)
            rags[language], questions[language] = RAG(memory, encoder, model), sample(of_language, half, count)
        if arguments.what == "choose":
            choose(rags, questions)
        else:
            report(rags, questions)


if __name__ == "__main__":
    main()
