"""Does memory help a model from scratch? Perplexity on the end of a text of models that learned from its beginning.

    python benchmarks/perplexity.py                      # a table, then one JSON line; half an hour on one core
    python benchmarks/perplexity.py --corpora wikitext-2 --seeds 0 --steps 100

Every model has as many weights (within 5 %; what reads no memory has wider feed-forward layers instead), learns from as many
tokens in as many steps at the same rate, and is measured on the same tokens, the last tenth of the text. None sees a token
before it has been predicted: memory holds text from before the window, for the last tenth also what was trained on.

without        MemGPT without memory layers
memory         MemGPT; each chunk of 32 tokens reads the 256 tokens before its window, and the 2 chunks of earlier text
               that are most like the chunk before it, each with the chunk after it
alike, recent  the same with one of the two only
longer         without memory, in windows of 384 tokens, a third as many in a step: no fewer tokens in sight than `recent` has
memorizing     memorizing-transformers-pytorch (Wu et al. 2022), where it is installed: segments in the order of the text,
               XL memory of one segment, and its kNN memory of all segments since the beginning of its stream
tied           the same with the embedding as its output and started as ours, which the package does not do

The data is not part of this project: wikitext-2/valid.txt (CC BY-SA 3.0) and tinyshakespeare/input.txt (public domain) are
looked for in ../shared/data, or where --data says.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.model import MemGPT
from memgpt_rag.model.from_scratch.config import MemGPTConfig
from memgpt_rag.model.tokenizer import bpe_tokenizer
from memgpt_rag.training.pretrain import PretrainOptions, pretrain

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CORPORA = {"wikitext-2": "wikitext-2/valid.txt", "tinyshakespeare": "tinyshakespeare/input.txt"}
MEMORIES = {"without": (0, 0), "memory": (2, 4), "alike": (2, 0), "recent": (0, 4), "longer": (0, 0)}  # k and recent
LONGER = {"longer": 3}
MEMORIZING = ("memorizing", "tied")
VOCABULARY, WIDTH, HEADS, LAYERS, WINDOW, CHUNK, BATCH = 2048, 128, 4, 2, 128, 32, 16
LEARNING_RATE, DROPOUT, HELD_OUT = 2e-3, 0.1, 0.1


def weight_count(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def memgpt(arm: str, tokenizer) -> MemGPT:
    reads = any(MEMORIES[arm])
    in_memory = 0 if reads else 6 * WIDTH**2  # query and out; key and value, of two vectors each
    feedforward = 4 * WIDTH + in_memory // (2 * WIDTH * LAYERS)
    return MemGPT(MemGPTConfig(VOCABULARY, WIDTH, HEADS, LAYERS, feedforward, dropout=DROPOUT, memory_layers=(0,) if reads else (), max_tokens=WINDOW * LONGER.get(arm, 1), chunk_tokens=CHUNK), tokenizer=tokenizer)  # fmt: skip


def run_memgpt(arm: str, text: str, tokenizer, steps: int, seed: int) -> tuple[float, int]:
    """Loss per token on the held-out windows, and weights."""
    torch.manual_seed(seed)
    model, (k, recent) = memgpt(arm, tokenizer), MEMORIES[arm]
    done = pretrain(model, text, PretrainOptions(k=k,recent=recent,held_out=HELD_OUT,steps=steps,batch_size=BATCH // LONGER.get(arm, 1),learning_rate=LEARNING_RATE,seed=seed), use_cpu=True)  # fmt: skip
    return done.eval_loss, weight_count(model)


def run_memorizing(
    arm: str, text: str, tokenizer, steps: int, seed: int, *, known_segments: int = 512
) -> tuple[float, int]:
    """The same for memorizing-transformers-pytorch: a row of a batch is a stream that goes on from step to step."""
    from memorizing_transformers_pytorch import MemorizingTransformer

    torch.manual_seed(seed)
    tokens = torch.tensor(tokenizer(text, verbose=False)["input_ids"])
    windows = (len(tokens) - 1) // WINDOW
    first_held_out = windows - max(1, round(windows * HELD_OUT))  # as `pretrain` divides
    with tempfile.TemporaryDirectory() as folder:
        model = MemorizingTransformer(
            num_tokens=VOCABULARY, dim=WIDTH, depth=LAYERS, heads=HEADS, dim_head=WIDTH // HEADS, ff_mult=6 if arm == "tied" else 3,
            attn_dropout=DROPOUT, ff_dropout=DROPOUT, memorizing_layers=(LAYERS,), max_knn_memories=2**17,
            num_retrieved_memories=32, xl_max_memories=WINDOW, knn_memories_directory=folder,
        )  # fmt: skip
        if arm == "tied":
            nn.init.normal_(model.token_emb.weight, std=0.02)
            model.to_logits[1].weight = model.token_emb.weight
        optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=0.01)
        warm = steps // 10
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: step / max(1, warm) if step < warm else (steps - step) / max(1, steps - warm)
        )
        segments = first_held_out // BATCH
        streams = tokens[: BATCH * segments * WINDOW].view(BATCH, segments * WINDOW)
        model.train()
        with model.knn_memories_context(batch_size=BATCH) as memories:
            xl = None
            for step in range(steps):
                at = step % segments * WINDOW
                if at == 0:
                    memories.clear_memory()
                    xl = None
                targets = tokens[(torch.arange(BATCH)[:, None] * segments * WINDOW) + at + 1 + torch.arange(WINDOW)]
                logits, xl = model(streams[:, at : at + WINDOW], memories, xl_memories=xl)
                optimizer.zero_grad()
                nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
        return _held_out_loss(model.eval(), tokens, first_held_out, windows, known_segments), weight_count(model)


@torch.no_grad()
def _held_out_loss(model, tokens: Tensor, first: int, windows: int, known_segments: int) -> float:
    """One stream, which has read the segments before the first that counts."""
    losses, xl = [], None
    with model.knn_memories_context(batch_size=1) as memories:
        for number in range(max(0, first - known_segments), windows):
            segment = tokens[number * WINDOW : (number + 1) * WINDOW + 1]
            logits, xl = model(segment[None, :-1], memories, xl_memories=xl)
            if number >= first:
                losses.append(float(nn.functional.cross_entropy(logits[0], segment[1:])))
    return statistics.fmean(losses)


def measure(arm: str, text: str, tokenizer, steps: int, seed: int) -> dict[str, float]:
    started = time.perf_counter()
    run = run_memgpt if arm in MEMORIES else run_memorizing
    loss, weights = run(arm, text, tokenizer, steps, seed)
    return {"perplexity": math.exp(loss), "weights": weights, "seconds": time.perf_counter() - started}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the corpora")
    parser.add_argument("--corpora", nargs="+", default=list(CORPORA), choices=list(CORPORA))
    parser.add_argument(
        "--arms", nargs="+", default=["without", "memory", "memorizing"], choices=[*MEMORIES, *MEMORIZING]
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=200, help="steps of 16 windows of 128 tokens")
    settings = parser.parse_args(argv)
    quiet_libraries()
    arms, skipped = list(settings.arms), {}
    if importlib.util.find_spec("memorizing_transformers_pytorch") is None:
        arms = [arm for arm in arms if arm in MEMORIES]
        skipped |= {
            arm: "memorizing-transformers-pytorch is not installed" for arm in settings.arms if arm in MEMORIZING
        }
    results: dict[str, dict[str, list[dict[str, float]]]] = {}
    for corpus in settings.corpora:
        file = settings.data / CORPORA[corpus]
        if not file.exists():
            skipped[corpus] = f"no file {CORPORA[corpus]} in --data"
            continue
        text = file.read_text(encoding="utf-8")
        tokenizer = bpe_tokenizer([text[: int(len(text) * (1 - 1.5 * HELD_OUT))]], VOCABULARY)
        per_arm: dict[str, list[dict[str, float]]] = {arm: [] for arm in arms}
        for seed in settings.seeds:
            for arm in arms:
                per_arm[arm].append(measure(arm, text, tokenizer, settings.steps, seed))
                print(f"{corpus}, seed {seed}, {arm}: {per_arm[arm][-1]['perplexity']:.1f}", flush=True)
        results[corpus] = per_arm
    for corpus, per_arm in results.items():
        print(f"\n{corpus}, {settings.steps} steps, seeds {settings.seeds}")
        print(f"{'':<14}{'weights':>9}{'perplexity of each seed':>30}{'mean':>8}{'ratio (spread)':>24}{'seconds':>9}")
        for arm, runs in per_arm.items():
            print(_row(arm, runs, per_arm.get("without", runs)))
    for name, reason in skipped.items():
        print(f"{name} was skipped: {reason}.")
    print(json.dumps({"steps": settings.steps, "seeds": settings.seeds, "results": results, "skipped": skipped}))


def _row(arm: str, runs: list[dict[str, float]], without: list[dict[str, float]]) -> str:
    per_seed = [run["perplexity"] for run in runs]
    ratios = [one / run["perplexity"] for one, run in zip(per_seed, without, strict=True)]
    seeds = " ".join(f"{one:.1f}" for one in per_seed)
    ratio = f"{statistics.fmean(ratios):.3f} ({min(ratios):.3f}–{max(ratios):.3f})"
    seconds = statistics.median(run["seconds"] for run in runs)
    return f"{arm:<14}{runs[0]['weights']:>9,}{seeds:>30}{statistics.fmean(per_seed):>8.1f}{ratio:>24}{seconds:>9.0f}"


if __name__ == "__main__":
    main()
