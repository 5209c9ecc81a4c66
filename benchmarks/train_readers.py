"""Train what reads memory, on a GPU: an adapter with the passages in the prompt, then delimiters and an adapter in memory.

    python benchmarks/train_readers.py ROWS.jsonl.gz FOLDER --seconds 240

Rows come from `reading_sets.py`. Three things are trained, each for as many seconds as are given:

* prompt: an adapter, passages in the prompt: the honest opponent, and the teacher of what follows;
* memory: delimiters, an adapter that starts from the one above, and the numbers of both presets, passages in memory. The
  loss is the answer's negative log-likelihood, the distance to the teacher (KL over all words), and a little of −log of the
  share of attention that the right passage gets;
* delimiters: the delimiters alone, decoder frozen, towards the untrained decoder with the passages in its prompt.

FOLDER gets a reader each for the prompt and for memory, in folders of their own, and a report of questions held out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from memgpt_rag.choices import PRESETS
from memgpt_rag.model import DEFAULT_GENERATOR, AttendedMemory, MemoryDecoder
from memgpt_rag.model.adapter import add_adapter
from memgpt_rag.model.config import LayerSettings
from memgpt_rag.model.delimiters import new_delimiters
from memgpt_rag.model.presets import preset
from memgpt_rag.model.prompt import Prompt
from memgpt_rag.model.reader import save_reader
from memgpt_rag.training.calibrate import LayerParameters
from memgpt_rag.training.rows import (
    TrainingRow,
    alike_row_batches,
    answer_tokens,
    dropped,
    memory_hidden,
    prompted_hidden,
    read_rows,
    require_plain_head,
)

GOLD_WEIGHT = 0.05
CHUNK = 1024  # tokens whose words are compared at once


def precision(device: torch.device) -> Any:
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()


def word_losses(
    head: torch.nn.Module, hidden: Tensor, tokens: Tensor, taught: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Of each token: its negative log-likelihood, the distance from what the teacher expects, whether it is the likeliest."""

    def chunk(hidden: Tensor, tokens: Tensor, taught: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        expected = head(hidden).float().log_softmax(-1)
        loss = -expected.gather(1, tokens[:, None])[:, 0]
        right = expected.argmax(-1) == tokens
        if taught is None:
            return loss, torch.zeros_like(loss), right
        with torch.no_grad():
            teacher = head(taught).float().log_softmax(-1)
        return loss, (teacher.exp() * (teacher - expected)).sum(-1), right

    parts = [
        checkpoint(
            chunk,
            hidden[at : at + CHUNK],
            tokens[at : at + CHUNK],
            None if taught is None else taught[at : at + CHUNK],
            use_reentrant=False,
        )
        for at in range(0, len(tokens), CHUNK)
    ]
    loss, distance, right = (torch.cat(item) for item in zip(*parts, strict=True))
    return loss, distance, right


def by_row(numbers: Tensor, row: Tensor, rows: int) -> Tensor:
    """Means over each row's tokens."""
    sums = numbers.new_zeros(rows).index_add(0, row, numbers)
    return sums / torch.bincount(row, minlength=rows)


class GoldShare:
    """−log of the share of attention to memory that the right entries get while the answer is written."""

    def __init__(self, rows: Sequence[TrainingRow]):
        self.rows = rows
        self.mass: Tensor | None = None
        self.memory: AttendedMemory | None = None

    def __call__(self, memory: AttendedMemory, weights: Tensor) -> None:
        answering = torch.zeros(weights.shape[0], weights.shape[2], device=weights.device)
        for number, row in enumerate(self.rows):
            start = len(row.question) - 1
            answering[number, start : start + len(row.answer)] = 1
        mass = torch.einsum("rhqt,rq->rt", weights, answering) / weights.shape[1]
        self.mass = mass if self.mass is None else self.mass + mass
        self.memory = memory

    def loss(self) -> Tensor:
        assert self.mass is not None and self.memory is not None
        gold = torch.zeros(len(self.rows), int(self.memory.entry_of_token.max()) + 1, device=self.mass.device)
        for number, row in enumerate(self.rows):
            gold[number, list(row.gold)] = 1
        share = (self.mass * gold.gather(1, self.memory.entry_of_token)).sum(1) / (self.mass.sum(1) + 1e-9)
        has = gold.any(1)
        return torch.where(has, -(share + 1e-4).log(), torch.zeros_like(share))


def train(
    name: str,
    groups: list[dict[str, Any]],
    row_losses: Callable[[Sequence[TrainingRow], int], Tensor],
    batches: Iterator[list[list[TrainingRow]]],
    seconds: float,
    device: torch.device,
) -> dict[str, Any]:
    """AdamW for so many seconds; the learning rate warms up and falls linearly to 0 by the time that has passed."""
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0, fused=device.type == "cuda")
    rates = [group["lr"] for group in groups]
    parameters = [one for group in groups for one in group["params"]]
    began, step, seen, losses = time.perf_counter(), 0, 0, []
    while (passed := (time.perf_counter() - began) / seconds) < 1:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * min(1.0, (step + 1) / 20) * (1 - passed)
        parts = next(batches)
        total = sum(map(len, parts))
        step_loss = torch.zeros((), device=device)
        for part in parts:
            with precision(device):
                loss = row_losses(part, step).sum() / total
            loss.backward()  # type: ignore[no-untyped-call]
            step_loss += loss.detach()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step, seen = step + 1, seen + total
        losses.append(step_loss)
        if step % 25 == 0:
            recent = float(torch.stack(losses[-25:]).mean())
            print(f"{name}: step {step}, {time.perf_counter() - began:.0f} s, loss {recent:.4f}", flush=True)
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
    print(f"{name}: {step} steps, {seen} questions, {memory:.0f} GiB", flush=True)
    return {"steps": step, "questions": seen, "loss": [round(float(one), 4) for one in losses]}


@torch.no_grad()
def figures(
    head: torch.nn.Module,
    hidden_states: Callable[[Sequence[TrainingRow]], Tensor],
    rows: Sequence[TrainingRow],
    ending: int,
    device: torch.device,
) -> dict[str, dict[str, float]]:
    """Of questions held out, by set: negative log-likelihood per word of the answer, and how many would be written exactly."""
    found: dict[str, list[tuple[float, float]]] = {}
    ordered = sorted(rows, key=lambda row: row.num_tokens)
    for start in range(0, len(ordered), 32):
        part = ordered[start : start + 32]
        tokens, row = answer_tokens(part, device)
        with precision(device):
            loss, _, right = word_losses(head, hidden_states(part), tokens, None)
        counts = torch.bincount(row)
        ends = counts.cumsum(0)
        for number, one in enumerate(part):
            own = slice(int(ends[number] - counts[number]), int(ends[number]) - ending)
            kind = one.name if one.gold else "declined"
            found.setdefault(kind, []).append((float(loss[own].mean()), float(right[own].all())))
    every = [one for item in found.values() for one in item]
    return {
        name: {
            "questions": len(item),
            "nll": round(sum(a for a, _ in item) / len(item), 3),
            "exact": round(sum(b for _, b in item) / len(item), 3),
        }
        for name, item in {"all": every, **found}.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default=DEFAULT_GENERATOR)
    parser.add_argument("--prompt-seconds", type=float, default=150)
    parser.add_argument("--memory-seconds", type=float, default=240)
    parser.add_argument("--delimiters-seconds", type=float, default=0)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--held-out", type=int, default=500)
    parser.add_argument("--also", type=Path, help="further rows to report on")
    parser.add_argument("--most-tokens", type=int, default=40_000, help="padded tokens that are read at once")
    parser.add_argument("--teacher", type=Path, help="prompt reader that an earlier run left")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    model = MemoryDecoder.from_pretrained(arguments.model, reader=arguments.teacher)
    taught_by = None if model.reader is None else model.reader.adapter
    model.reader = None
    device = model.decoder.device
    prompt = model.prompt
    end = (int(model.tokenizer.eos_token_id),)
    rows = read_rows(arguments.rows, end)
    # Stretches of a hundred, so that documents are not on both sides.
    chosen = torch.randperm(len(rows) // 100, generator=torch.Generator().manual_seed(1))[: arguments.held_out // 100]
    held_places = {place for stretch in chosen.tolist() for place in range(100 * stretch, 100 * stretch + 100)}
    held_out = [row for place, row in enumerate(rows) if place in held_places]
    fitting = [row for place, row in enumerate(rows) if place not in held_places]
    if arguments.also:
        held_out += read_rows(arguments.also, end)
    print(f"{len(fitting)} rows, {len(held_out)} held out, {time.perf_counter() - began:.0f} s", flush=True)
    head = model.writer.get_output_embeddings()
    require_plain_head(model)
    model.requires_grad_(False)
    report: dict[str, Any] = {"settings": {name: str(value) for name, value in vars(arguments).items()}}
    generator = torch.Generator().manual_seed(arguments.seed)
    begin = () if model.tokenizer.bos_token_id is None else (int(model.tokenizer.bos_token_id),)

    def note(name: str, found: dict[str, dict[str, float]]) -> None:
        report[name] = found
        print(f"{name}: {found['all']}", flush=True)
        (arguments.folder / "report.json").write_text(json.dumps(report, indent=1))

    def memory_figures(name: str, settings_by_preset: dict[str, tuple[dict[int, LayerSettings], Any]]) -> None:
        for kind, (layer_settings, bias) in settings_by_preset.items():
            note(
                f"{name}, {kind}",
                figures(
                    head,
                    partial(memory_hidden, model, layer_settings=layer_settings, score_bias=bias),
                    held_out,
                    len(end),
                    device,
                ),
            )

    def batches() -> Iterator[list[list[TrainingRow]]]:
        return alike_row_batches(fitting, arguments.batch, arguments.most_tokens, generator)

    model.prefix_ids = prompt.prefix_ids
    note(
        "untrained, prompt",
        figures(head, lambda part: prompted_hidden(model.writer, prompt.prefix_ids, part), held_out, len(end), device),
    )
    untrained = {kind: preset(kind, model.writer.config) for kind in PRESETS}
    resolved = {kind: (one.resolve(model.windows, model.num_heads), one.score_bias) for kind, one in untrained.items()}
    memory_figures("untrained, memory", resolved)

    # Delimiters alone.
    if arguments.delimiters_seconds:
        newline = torch.tensor(model.tokenizer("\n", add_special_tokens=False)["input_ids"][-1:], device=device)
        model.delimiters = new_delimiters(model.embedded(newline)[0])

        def delimiter_loss(part: Sequence[TrainingRow], step: int) -> Tensor:
            kind = "quality" if step % 3 else "compact"
            part = [dropped(row, generator, 0.15) for row in part]
            tokens, row = answer_tokens(part, device)
            with torch.no_grad():
                taught = prompted_hidden(model.writer, prompt.prefix_ids, part, gold_last=True)
            hidden = memory_hidden(model, part, *resolved[kind])
            loss, distance, _ = word_losses(head, hidden, tokens, taught)
            return by_row(distance + 0.3 * loss, row, len(part))

        groups = [{"params": list(model.delimiters.tensors().values()), "lr": 3e-3}]
        report["delimiters alone"] = train(
            "delimiters", groups, delimiter_loss, batches(), arguments.delimiters_seconds, device
        )
        memory_figures("delimiters alone", resolved)
        save_reader(model, arguments.folder / "delimiters", declines=True)
        model.delimiters = None

    # The prompt's reader.
    model.prefix_ids = begin
    model.prompt = Prompt(model.tokenizer, worked_examples=False)
    adapter = add_adapter(model, rank=arguments.rank, every_map=True, seed=arguments.seed, start=taught_by)
    teacher: PreTrainedModel = model.decoder
    model.read_with(model.writer)
    weights = {name: one for name, one in adapter.named_parameters() if one.requires_grad}
    if taught_by is None:

        def prompt_loss(part: Sequence[TrainingRow], step: int) -> Tensor:
            part = [dropped(row, generator, 0.15) for row in part]
            tokens, row = answer_tokens(part, device)
            loss, _, _ = word_losses(head, prompted_hidden(teacher, begin, part), tokens, None)
            return by_row(loss, row, len(part))

        adapter.train()
        groups = [{"params": list(weights.values()), "lr": 4e-4}]
        report["prompt"] = train("prompt", groups, prompt_loss, batches(), arguments.prompt_seconds, device)
    adapter.eval()
    note(
        "trained, prompt", figures(head, lambda part: prompted_hidden(teacher, begin, part), held_out, len(end), device)
    )
    save_reader(model, arguments.folder / "prompt", adapter=adapter, dtype=torch.bfloat16)
    adapter.requires_grad_(False)

    # The reader of memory.
    newline = torch.tensor(model.tokenizer("\n", add_special_tokens=False)["input_ids"][-1:], device=device)
    model.delimiters = new_delimiters(model.embedded(newline)[0])
    reader = add_adapter(model, rank=arguments.rank, every_map=True, dropout=0.05, seed=arguments.seed)
    own = {name: one for name, one in reader.named_parameters() if one.requires_grad}
    for name, one in own.items():
        one.data.copy_(weights[name].data)
    numbers = {kind: LayerParameters(one, model, True).to(device) for kind, one in untrained.items()}

    def trained_fusions() -> dict[str, tuple[dict[int, LayerSettings], Any]]:
        return {kind: (one.layer_settings(), one.score_bias()) for kind, one in numbers.items()}

    def memory_loss(part: Sequence[TrainingRow], step: int) -> Tensor:
        kind = "compact" if step % 3 == 2 else "quality"
        part = [dropped(row, generator, 0.15) for row in part]
        tokens, row = answer_tokens(part, device)
        with torch.no_grad():
            taught = prompted_hidden(teacher, begin, part)
        share = GoldShare(part)
        one = numbers[kind]
        hidden = memory_hidden(model, part, one.layer_settings(), one.score_bias(), on_weights=share)
        loss, distance, _ = word_losses(head, hidden, tokens, taught)
        return by_row(loss + distance, row, len(part)) + GOLD_WEIGHT * share.loss()

    reader.train()
    groups = [
        {"params": list(own.values()), "lr": 4e-4},
        {"params": list(model.delimiters.tensors().values()), "lr": 3e-3},
        {
            "params": [
                getattr(one, name) for one in numbers.values() for name in ("log_temperature", "log_score_bias")
            ],
            "lr": 0.01,
        },
        {"params": [getattr(one, name) for one in numbers.values() for name in ("offset", "null_score")], "lr": 0.03},
    ]
    report["memory"] = train("memory", groups, memory_loss, batches(), arguments.memory_seconds, device)
    reader.eval()
    memory_figures("trained, memory", trained_fusions())
    save_reader(
        model,
        arguments.folder / "memory",
        adapter=reader,
        declines=True,
        dtype=torch.bfloat16,
        presets={kind: one.config() for kind, one in numbers.items()},
    )
    print(json.dumps({"seconds": round(time.perf_counter() - began)}))


if __name__ == "__main__":
    main()
