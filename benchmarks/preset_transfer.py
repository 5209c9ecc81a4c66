"""How an unfitted decoder should attend to memory: do the numbers that were fitted to one decoder help another?

    python benchmarks/preset_transfer.py --kept FOLDER

Two decoders, each the other's source. Numbers of a source's layer hold for its relative depth: they are averaged over its heads, and
interpolated between layers. Compared are memory attention without any numbers (τ = 1, β = 0), the general preset, that preset with one kind
of number after the other from the source, and the decoder's own fitted preset, which is fitted here where none ships, on the half of
the sets that is not asked. NLL is that of the gold answer per token; differences to the general preset are paired per question, with 95 %
intervals by bootstrap. Prints tables and one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.answer_modes import STATES_BYTES, K, make_examples
from benchmarks.answers import CHOOSING, REPORTING, build
from benchmarks.question_sets import DATA, SETS, read_set, sample
from memgpt_rag.encoders.load import load_encoder
from memgpt_rag.evaluation.metrics.significance import interval
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder
from memgpt_rag.model.presets import general_preset, preset
from memgpt_rag.rag import RAG
from memgpt_rag.training.answer_likelihood import Example, answer_losses, hold_out
from memgpt_rag.training.calibrate import CalibrationOptions, calibrate

MODELS = ("gemma-3-270m-4bit", "smollm2-135m-instruct-4bit")
GENERAL = "general"
PER_LAYER = ("inverse_temperature", "offset", "null_score")


def transferred(source: MemoryAttentionConfig, layers: int, names: Sequence[str]) -> dict[str, Any]:
    """Return numbers of another decoder for one with so many layers, by relative depth."""
    found: dict[str, Any] = {}
    for name in names:
        value = getattr(source, name)
        if name in PER_LAYER and isinstance(value, tuple):
            means = [float(np.mean(per_head)) for per_head in value]
            depths = np.linspace(0, 1, layers)
            value = tuple(np.interp(depths, np.linspace(0, 1, len(means)), means).tolist())
        found[name] = value
    return found


def candidates(
    own: MemoryAttentionConfig, source: MemoryAttentionConfig, layers: int
) -> dict[str, MemoryAttentionConfig]:
    """Return the configurations to compare, by name."""
    general = general_preset("quality")

    def with_numbers(*names: str) -> MemoryAttentionConfig:
        return replace(general, **transferred(source, layers, names))

    return {
        "τ = 1, β = 0": MemoryAttentionConfig(),
        GENERAL: general,
        "β of the source": with_numbers("score_bias", "top_m"),
        "τ of the source": with_numbers("inverse_temperature"),
        "τ, b of the source": with_numbers("inverse_temperature", "offset"),
        "all of the source": with_numbers(*PER_LAYER, "score_bias", "top_m"),
        "own": own,
    }


def own_preset(rag: RAG, fitting: dict[str, list[Example]], file: Path, steps: int) -> MemoryAttentionConfig:
    """Return the decoder's fitted preset; one that does not ship is fitted and kept in a file."""
    shipped = preset("quality", rag.model.decoder.config)
    if shipped != general_preset("quality"):
        return shipped
    if not file.exists():
        parts = [hold_out(examples) for examples in fitting.values()]
        rag.model.config = shipped
        with tqdm(total=steps, desc=file.stem, disable=None) as bar:
            found = calibrate(
                rag,
                [example for part, _ in parts for example in part],
                [example for _, part in parts for example in part],
                CalibrationOptions(steps=steps),
                on_step=lambda step, loss: bar.update(),
            )
        print(f"{file.stem}: held-out loss {found.before:.3f} → {found.after:.3f}", flush=True)
        file.write_text(json.dumps(asdict(found.config)), encoding="utf-8")
    return MemoryAttentionConfig.from_dict(json.loads(file.read_text(encoding="utf-8")))


@torch.no_grad()
def losses(rag: RAG, examples: Sequence[Example]) -> list[float]:
    """Return the NLL of each example's answer."""
    return [
        float(loss)
        for start in range(0, len(examples), 4)
        for loss in answer_losses(rag, examples[start : start + 4])[0]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=["xquad-en", "covid_qa"], choices=SETS)
    parser.add_argument("--questions", type=int, default=100, help="asked, and fitted on, per set")
    parser.add_argument("--articles", type=int, default=20, help="per half of a set")
    parser.add_argument("--steps", type=int, default=100, help="of a fit")
    parser.add_argument("--models", nargs=2, default=MODELS)
    parser.add_argument("--kept", type=Path, help="folder that keeps memories and fits for the next time")
    parser.add_argument("--data", type=Path, default=DATA)
    asked = parser.parse_args()
    quiet_libraries()
    encoder = load_encoder()
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.kept or Path(scratch)
        memories, questions = {}, {}
        for name in asked.sets:
            records, questions[name] = read_set(asked.data, name, asked.articles)
            memories[name] = build(name, folder, encoder, records, words=True)
        models = {
            name: MemoryDecoder.from_pretrained(name, reader=None, states_cache_bytes=STATES_BYTES)
            for name in asked.models
        }
        examples: dict[tuple[str, int], list[Example]] = {}
        for name in asked.sets:
            rag = RAG(memories[name], encoder, models[asked.models[0]])
            for half in (CHOOSING, REPORTING):
                chosen = sample(questions[name], half, asked.questions)
                found = rag.retriever.retrieve([question.text for question in chosen], K)
                examples[name, half] = make_examples(chosen, found)
        rags = {name: RAG(memories[asked.sets[0]], encoder, model) for name, model in models.items()}
        fitting = {name: examples[name, CHOOSING] for name in asked.sets}
        own = {name: own_preset(rag, fitting, folder / f"{name}.json", asked.steps) for name, rag in rags.items()}
        report: dict[str, Any] = {}
        for target, source in (asked.models, asked.models[::-1]):
            rag, rows = rags[target], {}
            for name, config in candidates(own[target], own[source], len(rag.model.windows)).items():
                rag.model.config = config
                rows[name] = {one: losses(rag, examples[one, REPORTING]) for one in asked.sets}
            report[target] = print_table(target, rows)
    print(json.dumps(report))


def print_table(target: str, rows: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Print the NLL of each configuration in each set, and its difference to the general preset; return both."""
    figures: dict[str, Any] = {}
    print(f"\n{target}")
    for name, per_set in rows.items():
        figures[name] = {}
        shown = []
        for one, values in per_set.items():
            difference = interval([value - other for value, other in zip(values, rows[GENERAL][one], strict=True)])
            figures[name][one] = {"nll": float(np.mean(values)), "difference": difference}
            mean, low, high = difference
            shown.append(
                f"{one} {np.mean(values):.3f}" + ("" if name == GENERAL else f" {mean:+.3f} [{low:+.3f}, {high:+.3f}]")
            )
        print(f"{name:<22}" + "   ".join(f"{one:<40}" for one in shown), flush=True)
    return figures


if __name__ == "__main__":
    main()
