"""Do layers that keep a state remember facts from memory as well as from a prompt?

    python benchmarks/hybrid_recall.py                                   (a quarter of an hour on one core)
    python benchmarks/hybrid_recall.py --types qwen3_next granitemoehybrid --steps 3000
    python benchmarks/hybrid_recall.py --times qwen3_next deepseek_v3 llama --width 256        times alone, with random weights

Small hybrids (benchmarks/small_decoders.py) are trained on synthetic recall. A sequence lists one to eight facts, each a name of two tokens
and a number of two, and then asks for the number of one name. After training, 400 questions are asked with
the facts as entries of a memory: recurrent layers go on from the combined states of all entries, or from the prefix alone
("attention only"); with the facts in the prompt; and with none. The right entry has the highest score, as a search would give it;
--margin is how far the others are behind. Recall is the share of answers with both tokens right; intervals are 95 %, by bootstrap, paired
with the prompt. Bytes are those of an entry in fp32, by kind of layer. The time to the first token is that of a prompt of long facts
against a memory whose states are ready. A table, and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.small_decoders import small_config, small_decoder
from memgpt_rag.evaluation.metrics.significance import interval
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder

BEGIN, FACT, SAYS, ASK = 1, 2, 3, 4  # tokens; the rest are names and numbers
NAMES, NUMBERS, WORDS = range(8, 40), range(40, 72), 97
MOST_FACTS, BATCH, QUESTIONS = 8, 64, 400
Fact = tuple[tuple[int, int], tuple[int, int]]


def random_facts(rng: np.random.Generator, count: int) -> list[Fact]:
    """Return facts with different names."""
    facts: dict[tuple[int, int], tuple[int, int]] = {}
    while len(facts) < count:
        name, number = (tuple(map(int, rng.choice(item, 2))) for item in (NAMES, NUMBERS))
        facts[name] = number
    return list(facts.items())


def entry(fact: Fact) -> list[int]:
    return [FACT, *fact[0], SAYS, *fact[1]]


def question(fact: Fact) -> list[int]:
    return [ASK, *fact[0], SAYS]


def train(model_type: str, width: int, steps: int, seed: int = 0) -> torch.nn.Module:
    """Return a small hybrid that was trained to recall facts from its prompt."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    config = small_config(model_type, **layer_sizes(width))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    rng, losses = np.random.default_rng(seed), []
    for step in range(steps):
        ids, targets = training_batch(rng, 1 + step % MOST_FACTS)
        logits = model(input_ids=ids).logits[:, -2 - len(targets[0]) + 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if step % 250 == 249:
            print(f"  {model_type}, step {step + 1}: loss {statistics.fmean(losses[-64:]):.3f}", flush=True)
    return model.eval()


def training_batch(rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Return prompts of so many facts with a question and its answer, and the answers."""
    rows, answers = [], []
    for _ in range(BATCH):
        facts = random_facts(rng, count)
        asked = facts[rng.integers(count)]
        rows.append([BEGIN, *(token for fact in facts for token in entry(fact)), *question(asked), *asked[1]])
        answers.append(asked[1])
    return torch.tensor(rows), torch.tensor(answers)


@torch.no_grad()
def recalls(model: MemoryDecoder, way: str, facts: list[Fact], asked: int, margin: float) -> float:
    """Return whether the number of a fact is said whole."""
    entries = [entry(fact) for fact in facts]
    if way == "none":
        return float(said(model, question(facts[asked]), []) == facts[asked][1])
    if way == "prompt":
        pasted = [token for one in entries for token in one]
        return float(said(model, [*pasted, *question(facts[asked])], []) == facts[asked][1])
    scores = [0.0 if place == asked else -margin for place in range(len(facts))]
    return float(said(model, question(facts[asked]), entries, scores) == facts[asked][1])


def said(model: MemoryDecoder, ids: list[int], entries: list[list[int]], scores: list[float] | None = None) -> Any:
    memory = model.make_memory([entries], None if scores is None else [scores])
    found = model.generate(
        torch.tensor([ids]), memory=memory, max_new_tokens=2, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    return tuple(found[0, len(ids) :].tolist())


def measure(decoder: torch.nn.Module, margin: float) -> dict[str, Any]:
    """Return the recall of each way by the number of facts, with paired differences to the prompt."""
    model = MemoryDecoder(decoder, None, config=MemoryAttentionConfig(score_bias=1.0), prefix_ids=[BEGIN])
    both = model.config
    ways = {
        "combined": replace(both, recurrent_bias=4.0),
        "attention only": replace(both, recurrent="prefix"),
        "prompt": both,
        "none": both,
    }
    rng, table = np.random.default_rng(1), {}
    for count in (1, 2, 4, 8):
        asked = [(random_facts(rng, count), int(rng.integers(count))) for _ in range(QUESTIONS)]
        rows: dict[str, list[float]] = {}
        for way, config in ways.items():
            model.config = config
            rows[way] = [recalls(model, way, facts, place, margin) for facts, place in asked]
        table[str(count)] = {
            way: {
                "recall": round(statistics.fmean(item), 3),
                "against the prompt": [
                    round(one, 3) for one in interval([a - b for a, b in zip(item, rows["prompt"], strict=True)])
                ],
            }
            for way, item in rows.items()
        }
        shown = "  ".join(
            "{} {:.0%} ({:+.0%} [{:+.0%}, {:+.0%}])".format(way, item["recall"], *item["against the prompt"])
            for way, item in table[str(count)].items()
        )
        print(f"  {count} facts: {shown}", flush=True)
    return table


def folder_bytes(model: MemoryDecoder, tokens: int = 6) -> dict[str, float]:
    """Return bytes of an entry: of each token in attention layers, and of the states of recurrent layers."""
    (states,) = model.entry_states([list(range(8, 8 + tokens))])
    recurrent = sum(state.nbytes for state in states.recurrent.values())
    return {"per token": (states.num_bytes - recurrent) / tokens, "per entry": recurrent}


def times(model: MemoryDecoder, tokens: int, k: int = 4, repeats: int = 7, written: int = 16) -> dict[str, Any]:
    """Return seconds to the first token and for each further one, from memory and from the prompt: medians of runs in turn.

    Args:
        tokens: of each of the k entries.
        written: tokens that are generated to time one.
    """
    rng = np.random.default_rng(2)
    entries = [rng.integers(8, 72, tokens).tolist() for _ in range(k)]
    asked, pasted = [ASK, 9, 10, SAYS], [token for one in entries for token in one]
    model.entry_states(entries)
    settings = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    seconds: dict[str, list[tuple[float, float]]] = {"memory": [], "prompt": []}
    for _ in range(repeats):
        for way, ids, item in (("memory", asked, entries), ("prompt", [*pasted, *asked], [])):
            taken = []
            for count in (1, 1 + written):
                began = time.perf_counter()
                model.generate(torch.tensor([ids]), memory=model.make_memory([item]), max_new_tokens=count, **settings)
                taken.append(time.perf_counter() - began)
            seconds[way].append((taken[0], (taken[1] - taken[0]) / written))
    medians = {
        way: [round(1000 * statistics.median(item), 2) for item in zip(*runs, strict=True)]
        for way, runs in seconds.items()
    }
    first, further = (sorted(p[part] / m[part] for m, p in zip(*seconds.values(), strict=True)) for part in (0, 1))
    return {
        "ms to the first token, ms a token": medians,
        "sooner than the prompt": [round(first[place], 2) for place in (len(first) // 2, 0, -1)],
        "faster than the prompt": [round(further[place], 2) for place in (len(further) // 2, 0, -1)],
    }


def timed(model_type: str, width: int) -> dict[str, Any]:
    """Return the times of a type with random weights, and the bytes of its states."""
    model = MemoryDecoder(small_decoder(model_type, **layer_sizes(width)), None, prefix_ids=[BEGIN])
    found = {"bytes": folder_bytes(model), **times(model, tokens=100)}
    print(f"{model_type}: {found}", flush=True)
    return found


def layer_sizes(width: int) -> dict[str, int]:
    """Return the sizes of a small decoder that go with its width."""
    sizes = {"hidden_size": width, "intermediate_size": 2 * width, "shared_intermediate_size": 2 * width}
    return sizes | {"mamba_n_heads": width // 4, "vocab_size": WORDS}  # heads of 8 each, twice the width


def runs(types: list[str], width: int, steps: int, margin: float) -> Iterator[tuple[str, dict[str, Any]]]:
    for model_type in types:
        decoder = train(model_type, width, steps)
        result: dict[str, Any] = {"weights": sum(one.numel() for one in decoder.parameters())}
        result["recall"] = measure(decoder, margin)
        model = MemoryDecoder(decoder, None, prefix_ids=[BEGIN])
        result |= {"bytes": folder_bytes(model), "times": times(model, tokens=100)}
        print(f"  {result['weights']:,} weights; bytes {result['bytes']}; {result['times']}", flush=True)
        yield model_type, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--types", nargs="+", default=["qwen3_next", "granitemoehybrid"])
    parser.add_argument("--times", nargs="+", help="types to time, with random weights; nothing is trained")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--margin", type=float, default=1.0, help="how far the scores of the other entries are behind")
    arguments = parser.parse_args()
    quiet_libraries()
    torch.set_num_threads(1)
    if arguments.times:
        print(json.dumps({name: timed(name, arguments.width) for name in arguments.times}))
        return
    print(json.dumps(dict(runs(arguments.types, arguments.width, arguments.steps, arguments.margin))))


if __name__ == "__main__":
    main()
