"""The opponent of a reader is trained on the same questions, with their entries in the prompt."""

from __future__ import annotations

import pytest
import torch
from hats import asked, build_hats, open_rag

from benchmarks.small_reader import PromptTrainer
from memgpt_rag.training.adapter import AdapterOptions, train_adapter
from memgpt_rag.training.adapter_examples import make_adapter_examples


def test_its_loss_before_training_is_that_of_one_sequence_with_the_entries_best_last(tmp_path):
    rag = open_rag(build_hats(tmp_path))
    examples = make_adapter_examples(asked(rag), 3)
    expected = []
    for one in (item.example for item in examples):
        words, end = rag.prompt.answer_ids(one.question, one.answer)
        pasted = [token for entry in reversed(one.found) for token in rag.prompt.entry_ids(entry.passage)]
        before = [*rag.prompt.prefix_ids, *pasted, *rag.prompt.question_ids(one.question)]
        with torch.no_grad():
            logits = rag.model.writer(torch.tensor([[*before, *words, *end]])).logits[0, len(before) - 1 : -1]
        losses = torch.nn.functional.cross_entropy(logits, torch.tensor([*words, *end]), reduction="none")
        expected.append(float(losses[: len(words)].mean() + 0.3 * losses[len(words) :].sum()))
    tuning = train_adapter(
        rag,
        examples,
        examples,
        tmp_path / "prompt",
        AdapterOptions(evaluations=2, distillation_weight=0.0),
        trainer=PromptTrainer,
        max_steps=8,
        learning_rate=1e-2,
        per_device_train_batch_size=4,
        disable_tqdm=True,
    )
    assert tuning.before == pytest.approx(sum(expected) / len(expected), rel=1e-3)
    assert tuning.after < tuning.before
