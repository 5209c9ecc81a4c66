"""Train the reader of a small English model on two cores: an adapter on questions of open sets, then the numbers of its preset.

    python benchmarks/small_reader.py FOLDER        (two hours; the same command goes on after an interruption)
    python benchmarks/small_reader.py FOLDER --in-prompt    its honest opponent: an adapter that reads the same entries in the prompt

Questions come from ../shared/data/reading, whose licences are listed there and in the reader's card. Their passages become a memory, whose
search finds the four entries that each question is trained with. For a share of the questions, every entry with the answer is taken
away, and the answer is "not in memory". FOLDER gets the memory, and the reader in FOLDER/reader with its curve; with --in-prompt, the adapter in
FOLDER/prompt, and no numbers are fitted. Losses of questions about other documents are printed, before and after.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft.helpers import disable_input_dtype_casting
from safetensors.torch import load_file, save_file
from torch import Tensor

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.reading_sets import NO_TITLES, records, shortened
from indexing.passages.split_passages import PassageSplitter
from indexing.sources.clean_text import clean
from indexing.sources.document import Block, Document
from memgpt_rag.answering.answer_match import holds_answer
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.memory import Memory
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.model.adapter_files import WEIGHTS
from memgpt_rag.model.prompt import Prompt, detect_language
from memgpt_rag.model.reader import save_reader
from memgpt_rag.passage import Passage
from memgpt_rag.rag import RAG
from memgpt_rag.training.adapter import CHECKPOINTS, AdapterOptions, AdapterTrainer, train_adapter
from memgpt_rag.training.adapter_examples import AdapterExample, make_adapter_examples
from memgpt_rag.training.answer_likelihood import Answers, Example, answer_logits, find_examples, hold_out
from memgpt_rag.training.calibrate import CalibrationOptions, calibrate

# Questions taken of each set; answers are literal in a passage of all of them.
COUNTS = {
    "squadshifts new_wiki_v1.0": 2000,
    "squadshifts reddit_v1.0": 200,
    "squadshifts amazon_reviews_v1.0": 200,
    "qed_dev": 400,
    "nq_oracle": 640,
    "qamr": 160,
    "timeqa_human": 400,
    "tatqa": 120,
    "hotpot_bolaa": 40,
    "tldr en": 480,
    "medquad": 320,
    "us_federal_covid_faq": 120,
    "python_faq_zh_en": 200,
}
K = 4
STATES_BYTES = 8 * 2**30
_MOST_PASSAGES = 3  # of a record, where its text is long


class PromptTrainer(AdapterTrainer):
    """Reads the entries of a question in its prompt, the best one last, and nothing in memory.

    Inputs stay bf16 in the adapter, and prompts of similar length share a batch: a step takes a seventh less, and no sum changes.
    """

    def read(self, examples: Sequence[Example]) -> tuple[list[Tensor], Answers]:
        bare = [replace(one, found=()) for one in examples]
        with disable_input_dtype_casting(self.model, active=self.args.bf16):
            return answer_logits(self.rag, bare, pasted=[one.found for one in examples])

    def _get_train_sampler(self, train_dataset: Any = None) -> list[int]:
        step_size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        # Another sequence than that of the seed alone, which chose the unanswerable questions: they would all come first.
        order = np.random.default_rng((self.args.seed, 1)).permutation(len(self.train_dataset))
        steps = [order[start : start + step_size] for start in range(0, len(order), step_size)]
        return [int(place) for step in steps for place in sorted(step, key=self._prompt_length)]

    def _prompt_length(self, place: int) -> int:
        return sum(len(entry.passage.text) for entry in self.train_dataset[place].example.found)


def questions_and_passages(
    folder: Path, prompt: Prompt, generator: np.random.Generator
) -> tuple[list[tuple[str, str]], list[Passage]]:
    """Return English questions with their answers, which a passage holds word for word, and all passages of their sets."""
    splitter = PassageSplitter(lambda text: len(prompt.token_ids(text)))
    passages: dict[tuple[str, str], list[Passage]] = {}
    pairs: list[tuple[str, str]] = []
    for name, taken in records(folder, generator, COUNTS).items():
        for record in taken:
            question = clean(record["question"])
            answer = shortened(record["answers"][0], prompt) if record["answers"] and record["answerable"] else ""
            if not question or not answer or detect_language(question) != "en":
                continue
            own = [one for text in record["passages"] for one in _split(name, text, passages, splitter)]
            if any(holds_answer(one.titled_text, answer) for one in own[:_MOST_PASSAGES]):
                pairs.append((question, answer))
    return pairs, [one for split in passages.values() for one in split[:_MOST_PASSAGES]]


def _split(
    name: str, text: dict[str, str], known: dict[tuple[str, str], list[Passage]], splitter: PassageSplitter
) -> Iterator[Passage]:
    key = text["title"], text["text"]
    if key not in known:
        title = "" if name in NO_TITLES else text["title"].replace("_", " ").strip()
        document = Document(name, str(len(known)), title, "line", (Block(text["text"], 1, 1),))
        known[key] = list(splitter.split(document))
    yield from known[key]


def opened_memory(folder: Path, passages: list[Passage], encoder: Any) -> Memory:
    """Return the memory of the passages, which is made once."""
    if not (folder / "manifest.json").exists():
        Memory.create(folder, passages, encoder)
    return Memory.open(folder, encoder=encoder.fingerprint)


def split_examples(rag: RAG, pairs: list[tuple[str, str]], held: int) -> tuple[list[Example], list[Example]]:
    """Return questions to train on, and some to hold out, about other documents."""
    fitting, other = hold_out(find_examples(rag, pairs, 2 * K + 2))
    step = max(1, len(other) // held)
    return fitting, other[::step][:held]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="smollm2-135m-instruct-4bit")
    parser.add_argument(
        "--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data" / "reading"
    )
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--dropout", type=float, default=0.05, help="0 halves the time of a forward pass")
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--steps", type=int, default=80, help="of 8 questions, that numbers are fitted in")
    parser.add_argument("--questions", type=int, help="train on so many; all without it")
    parser.add_argument("--held-out", type=int, default=160)
    parser.add_argument("--unanswerable", type=float, default=0.12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--in-prompt", action="store_true", help="train to read the entries in the prompt; FOLDER/prompt gets it"
    )
    arguments = parser.parse_args()
    quiet_libraries()
    encoder = load_encoder()
    model = MemoryDecoder.from_pretrained(arguments.model, reader=None, states_cache_bytes=STATES_BYTES)
    pairs, passages = questions_and_passages(arguments.data, model.prompt, np.random.default_rng(arguments.seed))
    print(f"{len(pairs):,} questions, {len(passages):,} passages", flush=True)
    rag = RAG(opened_memory(arguments.folder / "memory", passages, encoder), encoder, model)
    fitting, held_out = (
        make_adapter_examples(part, K, unanswerable=arguments.unanswerable, seed=arguments.seed)
        for part in split_examples(rag, pairs, arguments.held_out)
    )
    fitting = fitting[: arguments.questions]
    print(f"{len(fitting):,} to train on, {len(held_out):,} held out", flush=True)
    reader = arguments.folder / ("prompt" if arguments.in_prompt else "reader")
    options = AdapterOptions(
        rank=arguments.rank,
        dropout=arguments.dropout,
        every_map=True,
        distillation_weight=0.0,
        seed=arguments.seed,
    )
    tuning = train_adapter(
        rag,
        fitting,
        held_out,
        reader,
        options,
        resume=any((reader / CHECKPOINTS).glob("checkpoint-*")),
        trainer=PromptTrainer if arguments.in_prompt else AdapterTrainer,
        num_train_epochs=arguments.epochs,
        per_device_train_batch_size=4,
        per_device_eval_batch_size=8,
        gradient_accumulation_steps=4,
        learning_rate=4e-4,
    )
    print(f"adapter: {tuning}", flush=True)
    if tuning.after >= tuning.before:
        print("No reader was kept: the adapter did not lower the loss of the questions held out.")
        return
    if arguments.in_prompt:
        print(json.dumps({"before": tuning.before, "adapter": tuning.after, "steps": tuning.steps}))
        return
    before, after = fit_numbers(rag, reader, fitting, held_out, arguments)
    print(json.dumps({"before": tuning.before, "adapter": before, "numbers": after, "steps": tuning.steps}))


def fit_numbers(
    rag: RAG,
    reader: Path,
    fitting: list[AdapterExample],
    held_out: list[AdapterExample],
    arguments: argparse.Namespace,
) -> tuple[float, float]:
    """Fit the numbers of the preset to a reader, and write both; returns the loss of questions held out before and after."""
    model = MemoryDecoder.from_pretrained(arguments.model, reader=reader, states_cache_bytes=STATES_BYTES)
    read = RAG(rag.retriever.memory, rag.retriever.encoder, model)
    found = calibrate(
        read,
        [one.example for one in fitting],
        [one.example for one in held_out],
        CalibrationOptions(steps=arguments.steps, gold_weight=0.0, evaluations=4, seed=arguments.seed),
    )
    folder = arguments.folder / "fitted"
    save_reader(model, folder, presets={"quality": found.config})
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(folder / WEIGHTS).items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    return found.before, found.after


if __name__ == "__main__":
    main()
