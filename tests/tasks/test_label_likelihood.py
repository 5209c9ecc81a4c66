"""Log-likelihoods of labels, against sequences that are read whole and one by one."""

from __future__ import annotations

import pytest
import torch
from tiny import random_ids, tiny_decoder

from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder
from memgpt_rag.model.tokenizer import byte_tokenizer
from memgpt_rag.tasks.classification.label_likelihood import label_log_likelihoods

LABELS = [random_ids(1, 1), random_ids(2, 2), random_ids(4, 3)]
TEXTS = [random_ids(length, length) for length in (9, 3, 14)]
EXAMPLES = [[random_ids(length, 50 + length) for length in lengths] for lengths in ((6, 11), (), (4, 7, 5))]


@pytest.fixture(params=["qwen3", "gemma3"])
def model(request):
    decoder = tiny_decoder(request.param)
    return MemoryDecoder(decoder, byte_tokenizer(), config=MemoryAttentionConfig(), prefix_ids=(1,))


def read_whole(logits, label):
    """The sum of a label's log-probabilities, from the logits of a sequence that ends with it."""
    scores = logits[0, -len(label) - 1 : -1].float().log_softmax(-1)
    return float(scores.gather(-1, torch.tensor(label)[:, None]).sum())


def test_they_equal_those_of_each_label_read_behind_its_text(model):
    found = label_log_likelihoods(model, TEXTS, model.make_memory(EXAMPLES), LABELS)
    for row, (text, examples) in enumerate(zip(TEXTS, EXAMPLES, strict=True)):
        for column, label in enumerate(LABELS):
            with torch.inference_mode():
                logits = model(torch.tensor([[*text, *label]]), memory=model.make_memory([examples])).logits
            assert float(found[row, column]) == pytest.approx(read_whole(logits, label), abs=1e-3)


def test_with_one_example_they_are_those_of_the_plain_decoder_with_the_example_in_its_prompt(model):
    example, text = EXAMPLES[0][0], TEXTS[0]
    found = label_log_likelihoods(model, [text], model.make_memory([[example]]), LABELS)[0]
    for likelihood, label in zip(found, LABELS, strict=True):
        with torch.inference_mode():
            logits = model.decoder(torch.tensor([[1, *example, *text, *label]])).logits
        assert float(likelihood) == pytest.approx(read_whole(logits, label), abs=1e-3)


def test_texts_are_read_once_and_further_tokens_of_labels_once_each(model):
    given = []
    model.decoder.register_forward_pre_hook(
        lambda module, arguments, inputs: given.append(tuple(inputs["input_ids"].shape)), with_kwargs=True
    )
    memory = model.make_memory(EXAMPLES)
    given.clear()
    label_log_likelihoods(model, TEXTS, memory, LABELS)
    assert given == [(3, 14), (3, 1), (3, 3)]
