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
from memgpt_rag.model import DEFAULT_GENERATOR, MemGPT, MemoryAttentionConfig
from memgpt_rag.model.config import PRESETS, preset
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
        find_files([source]),
        folder / language,
        encoder=encoder,
        splitter=splitter,
        tokenizer_name=DEFAULT_GENERATOR,
        progress=True,
    )
    print(f"{language}: {report.sentence()}", file=sys.stderr)
    return Memory.open(folder / language), questions


def answer_ids(rag: RAG, question: Question, *, end: bool) -> list[int]:
    """Tokens of the gold answer as it follows the question; with `end`, those of the line's end behind it, too."""
    space, stop = "" if language_of(question.text) == "zh" else " ", "\n\n" if end else ""
    text = f"{space}{question.answers[0]}{stop}"
    return list(rag.model.tokenizer(text, add_special_tokens=False)["input_ids"])


@torch.no_grad()
def gold_nll(
    rag: RAG,
    questions: Sequence[Question],
    attended: Sequence[Sequence[Retrieved]],
    pasted: Sequence[Sequence[Retrieved]] | None = None,
    *,
    end: bool = False,
) -> list[float]:
    """Negative log-likelihood of each gold answer per token; with `end`, of the end behind it, too."""
    losses, batch = [], 8
    for start in range(0, len(questions), batch):
        part = questions[start : start + batch]
        golds = [answer_ids(rag, question, end=end) for question in part]
        before = pasted[start : start + batch] if pasted is not None else [[]] * len(part)
        rows = [
            rag.question_row(question.text, of) + gold for question, of, gold in zip(part, before, golds, strict=True)
        ]
        width = max(map(len, rows))
        ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        memory = attend(rag.model, rag.prompt, attended[start : start + batch])
        logits = rag.model(ids, mask, memory=memory, logits_to_keep=max(map(len, golds)) + 1).logits
        for of_row, gold in zip(logits, golds, strict=True):
            likelihood = torch.log_softmax(of_row[-len(gold) - 1 : -1].float(), dim=-1)
            losses.append(-float(likelihood[torch.arange(len(gold)), gold].mean()))
    return losses


def choose(rags: dict[str, RAG], questions: dict[str, list[Question]]) -> None:
    """Coordinate search for each preset: change one number at a time and keep what lowers the mean NLL.

    The NLL counts the end of the answer, too: a reader that goes on copying is a bad reader.
    """
    model = next(iter(rags.values())).model
    found = {language: rags[language].retriever.retrieve([q.text for q in questions[language]], K) for language in rags}

    def loss(config: MemoryAttentionConfig) -> float:
        model.config = config
        return statistics.fmean(
            statistics.fmean(gold_nll(rags[language], questions[language], found[language], end=True))
            for language in rags
        )

    chosen = {}
    for name in PRESETS:
        fitted = preset(name, model.decoder.config)
        per_layer = len(fitted.resolve(model.windows)) if name == "compact" else 0
        general = replace(fitted, inverse_temperature=1.1, offset=0.0)
        best, config = min(
            ((loss(start), start) for start in (spread(general, per_layer), spread(fitted, per_layer))),
            key=lambda at: at[0],
        )
        print(f"{name}: start {best:.4f} {config}", flush=True)
        for sweep in range(2):
            before = best
            for candidate in neighbours(config, per_layer, fine=sweep > 0):
                varied = candidate(config)
                if varied != config and (got := loss(varied)) < best - 1e-4:
                    best, config = got, varied
                    print(f"{name}: {best:.4f} {config}", flush=True)
            if before - best < 1e-3:
                break
        chosen[name] = {
            "nll": round(best, 4),
            "config": {key: getattr(config, key) for key in config.__dataclass_fields__},
        }
    print(json.dumps(chosen))


def spread(config: MemoryAttentionConfig, layers: int) -> MemoryAttentionConfig:
    """The same configuration with one temperature and offset a layer; as it is where `layers` is 0."""

    def each(value: Any) -> Any:
        return value if isinstance(value, tuple) or not layers else (value,) * layers

    return replace(config, inverse_temperature=each(config.inverse_temperature), offset=each(config.offset))


def neighbours(config: MemoryAttentionConfig, layers: int, *, fine: bool) -> list[Any]:
    """Changes to try, each a function of the configuration that holds when its turn comes."""

    def put(value: tuple[float, ...], place: int, number: float) -> tuple[float, ...]:
        return (*value[:place], number, *value[place + 1 :])

    changes: list[Any] = []
    if layers:
        for place in reversed(range(layers)):
            for tau in (0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.45):
                changes.append(
                    lambda c, p=place, t=tau: replace(c, inverse_temperature=put(c.inverse_temperature, p, t))
                )
            for step in (-1.0, 1.0, 2.0) if not fine else (-0.5, 0.5):
                changes.append(lambda c, p=place, s=step: replace(c, offset=put(c.offset, p, c.offset[p] + s)))
    else:
        changes += [lambda c, t=tau: replace(c, inverse_temperature=t) for tau in (0.95, 1.0, 1.05, 1.1)]
        changes += [lambda c, b=offset: replace(c, offset=b) for offset in (0.0, 0.5, 1.0)]
    changes += [lambda c, m=m: replace(c, top_m=m) for m in (8, 16, 32, 64, None)]
    changes += [lambda c, b=beta: replace(c, score_bias=b) for beta in (6.0, 10.0, 13.0, 20.0, 30.0)]
    return changes


MODES = ("closed", "prompt-1", "prompt-4", "quality", "quality, no bias", "compact", "compact, no bias")
FIGURES = ("nll", "em", "f1", "contains")


def report(memories: dict[str, Memory], questions: dict[str, list[Question]], encoder: Encoder, model: MemGPT) -> None:
    """Every question in every mode, question by question, so that what is compared is measured side by side."""
    results: dict[str, Any] = {}
    for language, asked in questions.items():
        rags = {mode: RAG(memories[language], encoder, with_config(model, mode)) for mode in MODES}
        found = rags["closed"].retriever.retrieve([question.text for question in asked], K)
        warm(rags, found)
        rows: dict[str, list[dict[str, float]]] = {mode: [] for mode in MODES}
        for question, entries in zip(tqdm(asked, desc=language, disable=None), found, strict=True):
            for mode, rag in rags.items():
                rows[mode].append(measure(rag, question, entries, mode, language))
        gold = [
            [question.record == entry.passage.record for entry in entries]
            for question, entries in zip(asked, found, strict=True)
        ]
        results[language] = {
            "questions": len(asked),
            "paragraph found": {f"at {k}": round(statistics.fmean(any(of[:k]) for of in gold), 3) for k in (1, K)},
            "modes": summarise(rows),
        }
        print_table(language, results[language])
    print(json.dumps(results, ensure_ascii=False))


def with_config(model: MemGPT, mode: str) -> MemGPT:
    """The same decoder with the configuration of a mode, and states of its own."""
    config = preset("compact" if mode.startswith("compact") else "quality", model.decoder.config)
    if mode.endswith("no bias"):
        config = replace(config, score_bias=0.0)
    return MemGPT(model.decoder, model.tokenizer, config=config)


def warm(rags: dict[str, RAG], found: Sequence[Sequence[Retrieved]]) -> None:
    """States of all entries that the questions need, as a memory with stored states would have them."""
    for mode, rag in rags.items():
        if mode.startswith(("quality", "compact")):
            rag.model.states_of([rag.prompt.entry_ids(entry.passage) for of_question in found for entry in of_question])


def measure(rag: RAG, question: Question, found: list[Retrieved], mode: str, language: str) -> dict[str, float]:
    pasted = found[: {"prompt-1": 1, "prompt-4": 4}.get(mode, 0)]
    attended = found if mode.startswith(("quality", "compact")) else []
    (written,), _, clock = rag.write([question.text], [pasted], [attended])
    text = rag.prompt.answer_text(written)
    return {
        "nll": gold_nll(rag, [question], [attended], [pasted])[0],
        "em": exact_match(text, question.answers, language),
        "f1": f1(text, question.answers, language),
        "contains": contains_answer(text, question.answers, language),
        "first_token": clock.first_token,
    }


def summarise(rows: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Means, and paired differences to the two prompts with their intervals; times as medians and median paired ratios."""
    summary: dict[str, Any] = {}
    for mode, of_mode in rows.items():
        entry: dict[str, Any] = {
            figure: round(statistics.fmean(row[figure] for row in of_mode), 4) for figure in FIGURES
        }
        entry["first_token_seconds"] = round(statistics.median(row["first_token"] for row in of_mode), 4)
        for other in ("prompt-4", "prompt-1"):
            pairs = list(zip(of_mode, rows[other], strict=True))
            entry[f"against {other}"] = {
                figure: [
                    round(number, 4) for number in interval([mine[figure] - theirs[figure] for mine, theirs in pairs])
                ]
                for figure in FIGURES
            }
            ratios = sorted(theirs["first_token"] / mine["first_token"] for mine, theirs in pairs)
            entry[f"against {other}"]["sooner"] = [
                round(ratios[int(len(ratios) * part)], 2) for part in (0.5, 0.1, 0.9)
            ]
        summary[mode] = entry
    return summary


def print_table(language: str, result: dict[str, Any]) -> None:
    found = ", ".join(f"{share:.3f} {where}" for where, share in result["paragraph found"].items())
    print(f"\n{language}: {result['questions']} questions; paragraph found {found}")
    print(
        f"{'mode':<18}{'NLL':>7}{'EM':>7}{'F1':>7}{'has it':>8}{'first token':>13}   against prompt-4: NLL, F1 (95 %), sooner; against prompt-1: NLL, F1"
    )
    for mode, entry in result["modes"].items():
        versus = []
        for other in ("prompt-4", "prompt-1"):
            against = entry[f"against {other}"]
            versus += ["{:+.3f} [{:+.3f}, {:+.3f}]".format(*against[figure]) for figure in ("nll", "f1")]
            if other == "prompt-4":
                versus.append(f"{against['sooner'][0]:.1f}×")
        print(
            f"{mode:<18}{entry['nll']:>7.3f}{entry['em']:>7.1%}{entry['f1']:>7.1%}{entry['contains']:>8.1%}"
            f"{entry['first_token_seconds'] * 1000:>10.0f} ms   {'  '.join(versus)}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["choose", "report"])
    parser.add_argument(
        "--questions", type=int, default=None, help="questions per language (150 to choose, 300 to report)"
    )
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
        memories, questions = {}, {}
        for language in arguments.languages:
            memories[language], of_language = build(language, Path(scratch), arguments.data, encoder, model)
            questions[language] = sample(of_language, half, count)
        if arguments.what == "choose":
            choose({language: RAG(memory, encoder, model) for language, memory in memories.items()}, questions)
        else:
            report(memories, questions, encoder, model)


if __name__ == "__main__":
    main()
