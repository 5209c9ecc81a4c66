"""Do answers get better when passages sit in attention instead of in the prompt?

    python benchmarks/answers.py choose      fits both presets on one half of each set (25 minutes)
    python benchmarks/answers.py report      every mode on the other half, with the presets as they are (45 minutes)

Sets are XQuAD in English and Chinese, unless --sets names others. All modes see the same passages, the same question and
the same words around them: closed book; prompt with the best passage; prompt with the best two or four, best last; memory
with the presets quality and compact, with and without the bias by retrieval score. Of the modes that --modes
names, "reader, quality" and "reader, compact" read memory with the reader that ships, and "trained, prompt-4" is the honest opponent: the prompt with an
adapter of the same size, trained on the same questions with the passages in the prompt. NLL is that of the gold answer per
token; F1 counts characters in Chinese. Each figure is paired per question against the prompts; the best prompt of a set is
the one with the best mean of that figure. Intervals are 95 %, by bootstrap. A mode cites right where the entry with the
largest share of the attention holds the answer, of the questions where one of the four does. Time to first token starts
when passages are found and, in memory modes, their states are ready; the shared prefix is cached in every mode.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.answer_figures import print_table, summarise
from benchmarks.answer_modes import (
    ALWAYS,
    MODES,
    READER_MODES,
    STATES_BYTES,
    K,
    attends,
    gold_places,
    make_examples,
    measure,
    with_config,
    with_reader,
)
from benchmarks.kept_answers import KeptAnswers
from benchmarks.question_sets import DATA, SETS, Question, read_set, sample
from indexing.engines.local import LocalEngine
from indexing.job_log import JobLog
from indexing.jobs.build_memory import NewMemory, build_memory
from indexing.passages.split_passages import PassageSplitter
from indexing.sources.find_files import find_files
from memgpt_rag.answering.draft import Draft
from memgpt_rag.answering.options import AskOptions
from memgpt_rag.choices import PRESETS
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.encoders.config import DEFAULT_ENCODER
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.memory import Memory, add_lexical_index
from memgpt_rag.model import DEFAULT_GENERATOR, MemoryAttentionConfig, MemoryDecoder
from memgpt_rag.model.presets import FITTED, decoder_key, general_preset, preset
from memgpt_rag.model.tokenizer import load_tokenizer
from memgpt_rag.rag import RAG
from memgpt_rag.training.answer_likelihood import Example, alike_batches, answer_losses
from memgpt_rag.training.calibrate import END_WEIGHT, CalibrationOptions, calibrate
from memgpt_rag.training.layer_sweep import sweep_layers

CHOOSING, REPORTING = 0, 1


def build(
    name: str, folder: Path, encoder: Encoder, records: Sequence[dict[str, str]], *, words: bool = False
) -> Memory:
    """One memory of the paragraphs of a set, by the index job itself; one of as many that is there already is opened.

    Args:
        words: with a lexical index.
    """
    name = f"{name}-{len(records)}"
    if not (folder / name / "manifest.json").exists():  # an interrupted build leaves a folder without one
        folder.mkdir(parents=True, exist_ok=True)
        source = folder / f"{name}.jsonl"
        source.write_text(
            "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8"
        )
        tokenizer = load_tokenizer(DEFAULT_GENERATOR)  # every model reads the same passages
        report = build_memory(
            find_files([source]),
            folder / name,
            engine=LocalEngine(
                encoder, PassageSplitter(lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"]))
            ),
            tokenizer_name=DEFAULT_GENERATOR,
            new=NewMemory(replace=True),
            log=JobLog("build", progress=True),
        )
        print(f"{name}: {report.sentence()}", file=sys.stderr)
    memory = Memory.open(folder / name)
    if words and memory.manifest.words is None:
        add_lexical_index(memory)
        memory = Memory.open(folder / name)
    return memory


def choose(
    rags: dict[str, RAG], questions: dict[str, list[Question]], presets: Sequence[str], steps: int, save: bool
) -> None:
    """Calibrate presets on all sets at once; of each set, every fourth article is held out.

    Each begins with its general or its present numbers, whichever have the lower loss on what is held out; compact, where
    all layers are alike, with those of quality in the layers that a sweep finds.

    Args:
        save: keep what was found as the presets that this decoder gets from now on.
    """
    model = next(iter(rags.values())).model
    fitting: list[Example] = []
    held_out: dict[str, list[Example]] = {}
    for name, asked in questions.items():
        found = rags[name].retriever.retrieve([question.text for question in asked], K)
        articles = sorted({question.article for question in asked})[::4]
        held_out[name] = []
        for question, example in zip(asked, make_examples(asked, found), strict=True):
            (held_out[name] if question.article in articles else fitting).append(example)
    every = [example for per_set in held_out.values() for example in per_set]
    print(f"{len(fitting)} questions to fit on, {len(every)} held out", flush=True)
    rag, chosen = next(iter(rags.values())), {}  # any one will do: examples bring their entries along
    for name in presets:
        starts = [general_preset(name), preset(name, model.decoder.config)]
        if not starts[-1].has_layers(model.windows):
            quality = (
                chosen["quality"]["config"] if "quality" in chosen else asdict(preset("quality", model.decoder.config))
            )
            model.config = MemoryAttentionConfig.from_dict(quality)
            layers = sweep_layers(rag, fitting[:: len(fitting) // 64 + 1]).layers
            starts = [model.config.only(layers, model.layers)]
        before = {}
        for start in starts:
            if start.has_layers(model.windows):
                model.config = start
                before[start] = by_set(rag, held_out)
        present = starts[-1]
        model.config = min(before, key=lambda start: before[start]["all"])
        with tqdm(total=steps, desc=name, disable=None) as bar:
            got = calibrate(
                rag, fitting, every, CalibrationOptions(steps=steps), on_step=lambda step, loss: bar.update()
            )
        model.config = got.config
        chosen[name] = {"present": before[present], "now": by_set(rag, held_out), "config": asdict(got.config)}
        print(f"{name}: {chosen[name]['present']} → {chosen[name]['now']} {got.config}", flush=True)
    if save:
        fitted = json.loads(FITTED.read_text(encoding="utf-8"))
        per_decoder = fitted.setdefault(decoder_key(model.decoder.config), {})
        per_decoder.update({name: item["config"] for name, item in chosen.items()})
        FITTED.write_text(json.dumps(fitted, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(chosen))


@torch.no_grad()
def by_set(rag: RAG, held_out: dict[str, list[Example]], batch_size: int = 8) -> dict[str, float]:
    """Mean loss of the answers' words in each set, and over all questions the loss that a calibration lowers."""
    means, every = {}, []
    for name, examples in held_out.items():
        parts = [answer_losses(rag, part) for part in alike_batches(examples, batch_size)]
        words, end = (torch.cat(item) for item in zip(*parts, strict=True))
        means[name] = round(float(words.mean()), 4)
        every.append(words + END_WEIGHT * end)
    return {**means, "all": round(float(torch.cat(every).mean()), 4)}


def report(
    memories: dict[str, Memory],
    questions: dict[str, list[Question]],
    encoder: Encoder,
    model: MemoryDecoder,
    modes: Sequence[str],
    readers: dict[str, MemoryDecoder],
    batch_size: int = 1,
    kept: KeptAnswers | None = None,
) -> None:
    """Every question in every mode, batch by batch, so that what is compared is measured side by side."""
    results: dict[str, Any] = {}
    kept = kept or KeptAnswers(None)
    for name, asked in questions.items():
        rags = {mode: RAG(memories[name], encoder, readers.get(mode) or with_config(model, mode)) for mode in modes}
        rows: dict[str, list[dict[str, Any]]] = {mode: [] for mode in modes}
        places: list[tuple[int, ...]] = []
        for start in tqdm(range(0, len(asked), batch_size), desc=name, disable=None):
            part = asked[start : start + batch_size]
            drafts = rags["prompt-4"].drafts([question.text for question in part], AskOptions(k=K))
            places += [gold_places(question, draft.retrieved[:K]) for question, draft in zip(part, drafts, strict=True)]
            for mode, rag in rags.items():
                keys = [f"{name}: {rag.retriever.search.key or 'dense'}: {mode}: {question.text}" for question in part]
                answer = partial(in_mode, rag, mode, SETS[name].language)
                rows[mode] += kept.fill(
                    zip(keys, zip(part, drafts, strict=True), strict=True), answer, mode, batch_size
                )
        results[name] = {
            "questions": len(asked),
            "passage found": {
                f"at {k}": round(statistics.fmean(any(place < k for place in item) for item in places), 3)
                for k in (1, K)
            },
            "modes": summarise(rows),
        }
        print_table(name, results[name])
    print(json.dumps(results, ensure_ascii=False))


def in_mode(rag: RAG, mode: str, language: str, part: Sequence[tuple[Question, Draft]]) -> list[dict[str, Any]]:
    """Return the figures of some questions in one mode; states are ready, as a memory that stores them has them."""
    drafts = [Draft(draft.question, draft.retrieved) for _, draft in part]
    if attends(mode):
        rag.model.entry_states(
            [rag.prompt.entry_ids(entry.passage) for draft in drafts for entry in draft.retrieved[:K]]
        )
    return measure(rag, [question for question, _ in part], drafts, mode, K, language)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["choose", "report"])
    parser.add_argument("--sets", nargs="+", default=["xquad-en", "xquad-zh"], choices=SETS)
    parser.add_argument("--questions", type=int, default=None, help="questions per set (all to choose, 300 to report)")
    parser.add_argument(
        "--articles", type=int, nargs="+", default=[None], help="articles per half of the sets, or of each (all)"
    )
    parser.add_argument(
        "--modes",
        nargs="+",
        default=list(MODES),
        choices=[*MODES, *READER_MODES],
        help=f"{' and '.join(ALWAYS)} always join",
    )
    parser.add_argument("--presets", nargs="+", default=list(PRESETS), choices=PRESETS, help="which ones to choose")
    parser.add_argument("--steps", type=int, default=400, help="steps of each fit")
    parser.add_argument(
        "--save", action="store_true", help="what was chosen becomes the presets of this language model"
    )
    parser.add_argument(
        "--batch", type=int, default=1, help="questions at once, to report; times are those of one question with 1 only"
    )
    parser.add_argument(
        "--answers",
        type=Path,
        default=None,
        help="file of the report to keep answers in; a run that was stopped goes on there",
    )
    parser.add_argument("--memories", type=Path, default=None, help="folder to keep the memories in for the next time")
    parser.add_argument("--encoder", default=DEFAULT_ENCODER)
    parser.add_argument("--model", default=DEFAULT_GENERATOR)
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    quiet_libraries()
    encoder = load_encoder(arguments.encoder)
    model = MemoryDecoder.from_pretrained(arguments.model, reader=None, states_cache_bytes=STATES_BYTES)
    half = CHOOSING if arguments.what == "choose" else REPORTING
    count = arguments.questions or (10_000 if arguments.what == "choose" else 300)
    memories, questions = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, articles in zip(arguments.sets, cycle(arguments.articles), strict=False):
            records, per_set = read_set(arguments.data, name, articles)
            memories[name] = build(name, arguments.memories or Path(scratch), encoder, records, words=True)
            questions[name] = sample(per_set, half, count)
        if arguments.what == "choose":
            rags = {name: RAG(memory, encoder, model) for name, memory in memories.items()}
            choose(rags, questions, arguments.presets, arguments.steps, arguments.save)
        else:
            modes = [mode for mode in (*MODES, *READER_MODES) if mode in (*ALWAYS, *arguments.modes)]
            readers = {mode: with_reader(arguments.model, mode) for mode in modes if mode in READER_MODES}
            report(memories, questions, encoder, model, modes, readers, arguments.batch, KeptAnswers(arguments.answers))


if __name__ == "__main__":
    main()
