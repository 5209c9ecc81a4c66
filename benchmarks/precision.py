"""What does rounding cost: states in int8 or int4, and weights in int8?

    python benchmarks/precision.py           (an hour)

Questions of XQuAD in both languages, Gemma 3 270M with its reader in fp32, the preset quality. NLL is that of the gold answer per
token; each row is the difference to no rounding, paired per question, with its 95 % interval. Agreement is the share of the gold
answers' tokens at which the likeliest token stays the same. Weights are rounded for every token here, although only
decoding uses them so.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.answer_modes import K, make_examples
from benchmarks.answers import REPORTING, build
from benchmarks.question_sets import DATA, read_set, sample
from memgpt_rag.choices import PRESETS, StatesType
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.evaluation.metrics.significance import interval
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.model import EntryStates, MemoryDecoder, int8_weights
from memgpt_rag.model.stored import from_array, states_fingerprint, to_array
from memgpt_rag.rag import RAG
from memgpt_rag.state_codes import encode, stored_rounding
from memgpt_rag.training.answer_likelihood import Example, answer_logits, token_losses

Figures = tuple[float, list[int]]
# What is rounded: the type of states, and whether weights are in int8.
MODES: dict[str, tuple[StatesType | None, bool]] = {
    "int8-states": ("int8", False),
    "int4-states": ("int4", False),
    "int8-weights": (None, True),
    "int8-weights-int4-states": ("int4", True),
}


def figures(rag: RAG, example: Example) -> Figures:
    """Return the NLL of a question's gold answer per token, and the likeliest token at each of its places."""
    logits, answers = answer_logits(rag, [example])
    return float(token_losses(logits, answers)[0]), logits[0].argmax(-1).tolist()


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
        examples = []
        for name in ("xquad-en", "xquad-zh"):
            records, questions = read_set(arguments.data, name)
            rag = RAG(build(name, Path(scratch), encoder, records), encoder, model)
            asked = sample(questions, REPORTING, arguments.questions)
            examples += make_examples(asked, rag.retriever.retrieve([question.text for question in asked], K))

        def measure(mode: str, stored_in: StatesType | None) -> None:
            model.entry_states = exact_states  # type: ignore[method-assign]
            if stored_in is not None:
                rounding = stored_rounding(states_fingerprint(model, dtype=stored_in))

                def rounded(entries: Sequence[Sequence[int]]) -> list[EntryStates]:
                    stored = [encode(to_array(states, model), stored_in, rounding) for states in exact_states(entries)]
                    return [from_array(*codes, model, rounding=rounding) for codes in stored]

                model.entry_states = rounded  # type: ignore[method-assign]
            by_mode[mode] = [figures(rag, example) for example in tqdm(examples, desc=mode, disable=None)]

        measure("exact", None)
        for mode in sorted(arguments.modes, key=list(MODES).index):
            stored_in, with_int8_weights = MODES[mode]
            if with_int8_weights and int8_weights.MAX_ROWS < 10**9:
                int8_weights.add_int8_weights(model.decoder)
                int8_weights.MAX_ROWS = 10**9
            measure(mode, stored_in)
    exact, results = by_mode.pop("exact"), {}
    print(f"{len(exact)} questions, NLL {sum(nll for nll, _ in exact) / len(exact):.4f} without rounding")
    for mode, rounded in by_mode.items():
        pairs = list(zip(rounded, exact, strict=True))
        difference = [round(number, 5) for number in interval([mine[0] - theirs[0] for mine, theirs in pairs])]
        same = [
            mine == theirs
            for (_, mine_values), (_, exact_values) in pairs
            for mine, theirs in zip(mine_values, exact_values)
        ]
        results[mode] = {"nll": difference, "agreement": sum(same) / len(same)}
        print("{:<34}{:+.4f} [{:+.4f}, {:+.4f}]".format(mode, *difference), f"{sum(same) / len(same):.2%}")
    print(json.dumps({"questions": len(exact), "preset": arguments.preset, **results}))


if __name__ == "__main__":
    main()
