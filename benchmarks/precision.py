"""What does rounding cost: states in int8, and weights in int8?

    python benchmarks/precision.py           (15 minutes)

Questions of XQuAD in both languages, Gemma 3 270M in fp32, the preset quality. NLL is that of the gold answer per token;
each row is the difference to no rounding, paired per question, with its 95 % interval. Weights are rounded here for
every row, although only decoding uses them so.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.answer_modes import K, examples_of
from benchmarks.answers import REPORTING, build
from benchmarks.question_sets import DATA, read_set, sample
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.evaluation.metrics.significance import interval
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.memory.storage.states import encode
from memgpt_rag.model import EntryStates, MemoryDecoder, int8_weights
from memgpt_rag.model.stored import from_array, to_array
from memgpt_rag.rag import RAG
from memgpt_rag.training.answer_likelihood import answer_losses


class Rounded(MemoryDecoder):
    """A decoder that reads states as int8 has them."""

    def states_of(self, entries: Sequence[Sequence[int]], **settings: Any) -> list[EntryStates]:
        return [
            from_array(*encode(to_array(states, self), "int8"), self)
            for states in super().states_of(entries, **settings)
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=100, help="questions per language")
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    quiet_libraries()
    encoder, loaded = load_encoder(), MemoryDecoder.from_pretrained(dtype=torch.float32)
    modes = {
        kind: of(loaded.decoder, loaded.tokenizer, config="quality", states_cache_bytes=8 * 2**30)
        for kind, of in (("exact", MemoryDecoder), ("states in int8", Rounded))
    }
    losses: dict[str, list[float]] = {mode: [] for mode in (*modes, "weights in int8")}
    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
        examples = []
        for name in ("xquad-en", "xquad-zh"):
            records, questions = read_set(arguments.data, name)
            memory, asked = (
                build(name, Path(scratch), encoder, records),
                sample(questions, REPORTING, arguments.questions),
            )
            rags = {mode: RAG(memory, encoder, model) for mode, model in modes.items()}
            found = rags["exact"].retriever.retrieve([question.text for question in asked], K)
            examples += examples_of(asked, found)
        for mode, rag in rags.items():
            losses[mode] = [
                float(answer_losses(rag, [example])[0]) for example in tqdm(examples, desc=mode, disable=None)
            ]
        int8_weights.add_int8_weights(loaded.decoder)
        int8_weights.MAX_ROWS = 10**9
        losses["weights in int8"] = [
            float(answer_losses(rags["exact"], [example])[0]) for example in tqdm(examples, disable=None)
        ]
    exact, results = losses.pop("exact"), {}
    print(f"{len(exact)} questions, NLL {sum(exact) / len(exact):.4f} without rounding")
    for mode, of_mode in losses.items():
        difference = [
            round(number, 5)
            for number in interval([mine - theirs for mine, theirs in zip(of_mode, exact, strict=True)])
        ]
        results[mode] = difference
        print("{:<18}{:+.4f} [{:+.4f}, {:+.4f}]".format(mode, *difference))
    print(json.dumps({"questions": len(exact), **results}))


if __name__ == "__main__":
    main()
