"""What does rounding cost: states in int8 or int4, and weights in int8?

    python benchmarks/precision.py           (two hours)

Questions of XQuAD in both languages, Gemma 3 270M with its reader in fp32, the preset quality. NLL is that of the gold answer per
token; each row is the difference to no rounding, paired per question, with its 95 % interval. Agreement is the share of the gold
answers' tokens at which the likeliest token stays the same. F1 is that of the answer that the model writes, in points. Weights are
rounded for every token here, although only decoding uses them so. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.answer_modes import K, make_examples
from benchmarks.answers import REPORTING, build
from benchmarks.question_sets import DATA, Question, read_set, sample
from memgpt_rag.choices import PRESETS, StatesType
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.evaluation.metrics.answer_measures import f1
from memgpt_rag.evaluation.metrics.significance import interval
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.model import EntryStates, MemoryDecoder, int8_weights
from memgpt_rag.model.stored import from_array, states_fingerprint, to_array
from memgpt_rag.rag import RAG
from memgpt_rag.state_codes import encode, stored_rounding
from memgpt_rag.training.answer_likelihood import Example, answer_logits, token_losses


@dataclass(frozen=True)
class Figures:
    """NLL of a question's gold answer per token, the likeliest token at each of its places, and F1 of the model's own answer."""

    nll: float
    likeliest: list[int]
    f1: float


# What is rounded: the type of states, and whether weights are in int8.
MODES: dict[str, tuple[StatesType | None, bool]] = {
    "int8-states": ("int8", False),
    "int4-states": ("int4", False),
    "int8-weights": (None, True),
    "int8-weights-int4-states": ("int4", True),
}


def figures(rag: RAG, question: Question, example: Example, language: str) -> Figures:
    """Return the figures of one question, whose words are those of a language ("en", "zh")."""
    logits, answers = answer_logits(rag, [example])
    generated = rag.generator.generate_batch([question.text], [[]], [example.found])
    score = f1(rag.prompt.answer_text(generated.tokens[0]), question.answers, language)
    return Figures(float(token_losses(logits, answers)[0]), logits[0].argmax(-1).tolist(), score)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=200, help="questions per language")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--preset", choices=PRESETS, default="quality")
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    quiet_libraries()
    encoder, model = load_encoder(), MemoryDecoder.from_pretrained(dtype=torch.float32, config=arguments.preset)
    exact_states = model.entry_states
    by_mode: dict[str, list[Figures]] = {}
    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
        asked: list[tuple[RAG, Question, Example, str]] = []
        for name in ("xquad-en", "xquad-zh"):
            records, questions = read_set(arguments.data, name)
            rag = RAG(build(name, Path(scratch), encoder, records), encoder, model)
            sampled = sample(questions, REPORTING, arguments.questions)
            examples = make_examples(sampled, rag.retriever.retrieve([question.text for question in sampled], K))
            asked += [(rag, *pair, name[-2:]) for pair in zip(sampled, examples, strict=True)]

        def measure(mode: str, stored_in: StatesType | None) -> None:
            model.entry_states = exact_states  # type: ignore[method-assign]
            if stored_in is not None:
                rounding = stored_rounding(states_fingerprint(model, dtype=stored_in))

                def rounded(entries: Sequence[Sequence[int]]) -> list[EntryStates]:
                    stored = [encode(to_array(states, model), stored_in, rounding) for states in exact_states(entries)]
                    return [from_array(*codes, model, rounding=rounding) for codes in stored]

                model.entry_states = rounded  # type: ignore[method-assign]
            by_mode[mode] = [figures(*one) for one in tqdm(asked, desc=mode, disable=None)]

        measure("exact", None)
        for mode in sorted(arguments.modes, key=list(MODES).index):
            stored_in, with_int8_weights = MODES[mode]
            if with_int8_weights and int8_weights.MAX_ROWS < 10**9:
                int8_weights.add_int8_weights(model.decoder)
                int8_weights.MAX_ROWS = 10**9
            measure(mode, stored_in)
    exact = by_mode.pop("exact")
    nll, score = (statistics.mean(getattr(one, name) for one in exact) for name in ("nll", "f1"))
    results: dict[str, Any] = {"questions": len(exact), "preset": arguments.preset, "nll": nll, "f1": score}
    print(f"{len(exact)} questions, without rounding NLL {nll:.4f}, F1 {100 * score:.1f}")
    for mode, rounded in by_mode.items():
        pairs = list(zip(rounded, exact, strict=True))
        changed = [
            interval([getattr(mine, name) - getattr(other, name) for mine, other in pairs]) for name in ("nll", "f1")
        ]
        same = [a == b for mine, other in pairs for a, b in zip(mine.likeliest, other.likeliest, strict=True)]
        results[mode] = {"nll": changed[0], "f1": changed[1], "agreement": sum(same) / len(same)}
        f1_points = (100 * number for number in changed[1])
        print(
            "{:<26}{:+.4f} [{:+.4f}, {:+.4f}]".format(mode, *changed[0]),
            f"{sum(same) / len(same):>8.2%}",
            "  F1 {:+.1f} [{:+.1f}, {:+.1f}]".format(*f1_points),
        )
    print(json.dumps(results))


if __name__ == "__main__":
    main()
