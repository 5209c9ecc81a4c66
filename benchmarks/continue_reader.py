"""Train a reader further on two cores, on rows that `reading_sets.py --how-to` made: the adapter alone.

    python benchmarks/continue_reader.py ROWS.jsonl.gz FOLDER --seconds 3000

It starts from --reader and keeps its delimiters and presets, so that stored states stay valid. Each question has the entries with its answer
and the best others, four in all, or five where so many hold it. Two thirds of the steps read with `quality`, one third with `compact`. The loss is the answer's negative
log-likelihood, and a little of −log of the share of attention that the right passage gets. AdamW; the learning rate warms up and falls
linearly to 0 by the time that is given. FOLDER gets the reader; losses of questions held out are printed before and after. A folder in
FOLDER has the reader as it was after each quarter, to go on from: --reader FOLDER/at2.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from benchmarks.answer_modes import K
from benchmarks.train_readers import GOLD_WEIGHT, GoldShare, by_row, figures, word_losses
from memgpt_rag.choices import PRESETS
from memgpt_rag.io.console import quiet_libraries
from memgpt_rag.model import DEFAULT_GENERATOR, MemoryDecoder
from memgpt_rag.model.adapter import add_adapter
from memgpt_rag.model.presets import preset
from memgpt_rag.model.reader import save_reader
from memgpt_rag.training.rows import (
    TrainingRow,
    alike_row_batches,
    answer_tokens,
    dropped,
    memory_hidden,
    read_rows,
    require_plain_head,
)

_BATCH, _WARM_UP = 32, 15
_MOST_TOKENS = 1500  # padded, read at once: more do not fit the cache of a processor
_STRETCH = 20  # rows that are held out together, since neighbors are about the same documents


def with_fewer_entries(row: TrainingRow) -> TrainingRow:
    """Keep the entries with the answer, at most one more than are read by default, and fill up with the best others."""
    others = [place for place in range(len(row.entries)) if place not in row.gold]
    gold = sorted(row.gold)[: K + 1]
    keep = sorted([*gold, *others[: max(0, K - len(gold))]])
    return replace(
        row,
        entries=tuple(row.entries[place] for place in keep),
        scores=tuple(row.scores[place] for place in keep),
        gold=tuple(keep.index(place) for place in gold),
    )


def split(rows: Sequence[TrainingRow], held_out: int) -> tuple[list[TrainingRow], list[TrainingRow]]:
    """Rows to train on, and rows held out, in stretches."""
    order = torch.randperm(len(rows) // _STRETCH, generator=torch.Generator().manual_seed(1))
    chosen = {*order[: held_out // _STRETCH].tolist()}
    parts: tuple[list[TrainingRow], list[TrainingRow]] = ([], [])
    for place, row in enumerate(rows):
        parts[place // _STRETCH in chosen].append(row)
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=3000)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--reader", default="auto")
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--model", default=DEFAULT_GENERATOR)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    quiet_libraries()
    model = MemoryDecoder.from_pretrained(arguments.model, reader=arguments.reader)
    require_plain_head(model)
    reader, device, head = model.reader, model.decoder.device, model.writer.get_output_embeddings()
    if reader is None or reader.adapter is None:
        sys.exit(f"{arguments.reader} has no adapter; name a reader that has one with --reader.")
    rows = read_rows(arguments.rows, (int(model.tokenizer.eos_token_id),))
    fitting, held_out = split([with_fewer_entries(row) for row in rows], arguments.held_out)
    print(f"{len(fitting):,} rows, {len(held_out)} held out", flush=True)
    resolved = {
        kind: (config.resolve(model.windows, model.num_heads), config.score_bias)
        for kind in PRESETS
        if (config := reader.presets.get(kind, preset(kind, model.decoder.config))).has_layers(model.windows)
    }
    adapter = add_adapter(model, every_map=True, seed=arguments.seed, start=reader.adapter)
    for vectors in [] if model.delimiters is None else model.delimiters.tensors().values():
        vectors.requires_grad_(False)
    weights = [one for one in adapter.parameters() if one.requires_grad]
    generator = torch.Generator().manual_seed(arguments.seed)

    def note(name: str) -> None:
        adapter.eval()
        settings, bias = resolved["quality"]
        read = partial(memory_hidden, model, layer_settings=settings, score_bias=bias)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            print(name, json.dumps(figures(head, read, held_out, 1, device)), flush=True)
        adapter.train()

    def losses(part: Sequence[TrainingRow], step: int) -> Tensor:
        part = [dropped(row, generator, 0.15) for row in part]
        tokens, row = answer_tokens(part, device)
        share = GoldShare(part)
        settings, bias = resolved["compact" if step % 3 == 2 and "compact" in resolved else "quality"]
        loss, _, _ = word_losses(head, memory_hidden(model, part, settings, bias, on_weights=share), tokens, None)
        return by_row(loss, row, len(part)) + GOLD_WEIGHT * share.loss()

    def save(folder: Path) -> None:
        save_reader(model, folder, adapter=adapter, dtype=torch.bfloat16, presets=reader.presets)

    note("before")
    optimizer = torch.optim.AdamW(weights, lr=arguments.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    batches = alike_row_batches(fitting, _BATCH, _MOST_TOKENS, generator)
    began, step, saved = time.perf_counter(), 0, 0
    while (passed := (time.perf_counter() - began) / arguments.seconds) < 1:
        optimizer.param_groups[0]["lr"] = arguments.learning_rate * min(1.0, (step + 1) / _WARM_UP) * (1 - passed)
        parts, total = next(batches), 0.0
        for part in parts:
            with torch.autocast(device.type, dtype=torch.bfloat16):
                loss = losses(part, step).sum() / _BATCH
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        print(f"step {step}, {time.perf_counter() - began:.0f} s, loss {total:.3f}", flush=True)
        if int(4 * passed) > saved:
            saved = int(4 * passed)
            save(arguments.folder / f"at{saved}")
    save(arguments.folder)
    note("after")


if __name__ == "__main__":
    main()
