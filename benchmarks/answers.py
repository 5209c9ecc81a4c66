"""Do answers get better when passages sit in attention instead of in the prompt?

    python benchmarks/answers.py choose      fits β, τ and b of both presets on one half of the articles (25 minutes)
    python benchmarks/answers.py report      every mode on the other half, with the presets as they are (45 minutes)

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
from dataclasses import asdict, replace
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
from memgpt_rag.calibrate import Example, answer_losses, calibrate
from memgpt_rag.command_line import quiet_libraries
from memgpt_rag.encoder import DEFAULT_ENCODER, Encoder, load_encoder
from memgpt_rag.memory import Memory
from memgpt_rag.model import DEFAULT_GENERATOR, MemoryDecoder
from memgpt_rag.model.presets import FITTED, PRESETS, decoder_key, general_preset, preset
from memgpt_rag.retrieve import Retrieved

CHOOSING, REPORTING = 0, 1
K = 4
STEPS = 400


def build(
    language: str, folder: Path, data: Path, encoder: Encoder, model: MemoryDecoder
) -> tuple[Memory, list[Question]]:
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


def examples_of(questions: Sequence[Question], found: Sequence[list[Retrieved]]) -> list[Example]:
    return [Example(question.text, question.answers[0], of) for question, of in zip(questions, found, strict=True)]


def choose(rags: dict[str, RAG], questions: dict[str, list[Question]], save: bool) -> None:
    """Calibrate each preset from its general form, on both languages at once; every fourth article is held out.

    Args:
        save: keep what was found as the presets that this decoder gets from now on.
    """
    model = next(iter(rags.values())).model
    fitting: list[Example] = []
    held_out: list[Example] = []
    for language, asked in questions.items():
        found = rags[language].retriever.retrieve([question.text for question in asked], K)
        articles = sorted({question.article for question in asked})[::4]
        for question, example in zip(asked, examples_of(asked, found), strict=True):
            (held_out if question.article in articles else fitting).append(example)
    print(f"{len(fitting)} questions to fit on, {len(held_out)} held out", flush=True)
    rag, chosen = next(iter(rags.values())), {}  # any one will do: examples bring their entries along
    for name in PRESETS:
        model.config = general_preset(name)
        with tqdm(total=STEPS, desc=name, disable=None) as bar:
            got = calibrate(rag, fitting, held_out, steps=STEPS, on_step=lambda step, loss: bar.update())
        print(f"{name}: {got.before:.4f} → {got.after:.4f} {got.config}", flush=True)
        chosen[name] = {"before": got.before, "after": got.after, "config": asdict(got.config)}
    if save:
        fitted = json.loads(FITTED.read_text(encoding="utf-8"))
        fitted[decoder_key(model.decoder.config)] = {name: of["config"] for name, of in chosen.items()}
        FITTED.write_text(json.dumps(fitted, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(chosen))


MODES = ("closed", "prompt-1", "prompt-4", "quality", "quality, no bias", "compact", "compact, no bias")
FIGURES = ("nll", "em", "f1", "contains")


def report(
    memories: dict[str, Memory],
    questions: dict[str, list[Question]],
    encoder: Encoder,
    model: MemoryDecoder,
    modes: Sequence[str] = MODES,
) -> None:
    """Every question in every mode, question by question, so that what is compared is measured side by side."""
    results: dict[str, Any] = {}
    for language, asked in questions.items():
        rags = {mode: RAG(memories[language], encoder, with_config(model, mode)) for mode in modes}
        found = rags["prompt-4"].retriever.retrieve([question.text for question in asked], K)
        warm(rags, found)
        rows: dict[str, list[dict[str, float]]] = {mode: [] for mode in modes}
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


def with_config(model: MemoryDecoder, mode: str) -> MemoryDecoder:
    """The same decoder with the configuration of a mode, and states of its own."""
    config = preset("compact" if mode.startswith("compact") else "quality", model.decoder.config)
    if mode.endswith("no bias"):
        config = replace(config, score_bias=0.0)
    return MemoryDecoder(model.decoder, model.tokenizer, config=config)


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
    with torch.no_grad():
        (words,), _ = answer_losses(rag, examples_of([question], [attended]), pasted=[pasted])
    return {
        "nll": float(words),
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
        "--questions", type=int, default=None, help="questions per language (all to choose, 300 to report)"
    )
    parser.add_argument("--languages", nargs="+", default=list(LANGUAGES), choices=LANGUAGES)
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES, help="the prompts always join")
    parser.add_argument(
        "--save", action="store_true", help="what was chosen becomes the presets of this language model"
    )
    parser.add_argument("--encoder", default=DEFAULT_ENCODER)
    parser.add_argument("--model", default=DEFAULT_GENERATOR)
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    quiet_libraries()
    encoder, model = load_encoder(arguments.encoder), MemoryDecoder.from_pretrained(arguments.model)
    half = CHOOSING if arguments.what == "choose" else REPORTING
    count = arguments.questions or (10_000 if arguments.what == "choose" else 300)
    with tempfile.TemporaryDirectory() as scratch:
        memories, questions = {}, {}
        for language in arguments.languages:
            memories[language], of_language = build(language, Path(scratch), arguments.data, encoder, model)
            questions[language] = sample(of_language, half, count)
        if arguments.what == "choose":
            choose(
                {language: RAG(memory, encoder, model) for language, memory in memories.items()},
                questions,
                arguments.save,
            )
        else:
            report(
                memories,
                questions,
                encoder,
                model,
                [mode for mode in MODES if mode in ("prompt-1", "prompt-4", *arguments.modes)],
            )


if __name__ == "__main__":
    main()
