"""The reader that ships for the default decoder reads better than the decoder untrained, and is what it reads with by default."""

from __future__ import annotations

import pytest
import torch

from memgpt_rag.choices import PRESETS
from memgpt_rag.model import MemoryDecoder
from memgpt_rag.model.presets import preset
from memgpt_rag.model.reader import SHIPPED
from memgpt_rag.passage import Passage
from memgpt_rag.training.rows import TrainingRow, answer_tokens, memory_hidden

PASSAGES = (
    "The old observatory on Kestrel Hill was designed by Ines Valdemar and opened to the public in 1931.",
    "The tram depot was built by Tomas Aldous. It burned down in 1931 and was never opened again.",
    "阅览室早上九点开门，借书证每年收费三十元。",
)
ASKED = (("Who designed the old observatory?", "Ines Valdemar", 0), ("借书证每年多少钱？", "三十元", 2))
NOT_THERE = ("How deep is the harbour of Port Merrow?", "not in memory")


def entries(model: MemoryDecoder) -> tuple[tuple[int, ...], ...]:
    passages = (Passage("", text, "", "", "", "line", 1, 1, 0, len(text)) for text in PASSAGES)
    return tuple(map(model.prompt.entry_ids, passages))


def scores(gold: int | None) -> tuple[float, ...]:
    return tuple(1.5 if place == gold else 0.5 for place in range(len(PASSAGES)))


def losses(model: MemoryDecoder) -> torch.Tensor:
    """Negative log-likelihood of the answers' words."""
    answers = [model.prompt.answer_ids(question, answer) for question, answer, _ in ASKED]
    rows = [
        TrainingRow(entries(model), scores(gold), (gold,), model.prompt.question_ids(question), (*words, *end))
        for (question, _, gold), (words, end) in zip(ASKED, answers, strict=True)
    ]
    with torch.no_grad():
        hidden = memory_hidden(model, rows, model.layer_settings, model.config.score_bias)
        logits = model.writer.get_output_embeddings()(hidden)
    tokens, row = answer_tokens(rows, logits.device)
    loss = torch.nn.functional.cross_entropy(logits, tokens, reduction="none")
    return torch.stack([loss[row == number][: len(words)].mean() for number, (words, _) in enumerate(answers)])


def written(model: MemoryDecoder, question: str, gold: int | None) -> list[int]:
    ids = torch.tensor([model.prompt.question_ids(question)])
    memory = model.make_memory([entries(model)], [scores(gold)])
    tokens = model.generate(ids, memory=memory, max_new_tokens=16, do_sample=False)[0, ids.shape[1] :]
    return [int(token) for token in tokens]


@pytest.mark.offline_models
@pytest.mark.slow
def test_the_shipped_reader_reads_better_than_the_decoder_alone(gemma):
    kept, gemma.prefix_ids = gemma.prefix_ids, gemma.prompt.prefix_ids
    before = {}
    try:
        for name in PRESETS:
            gemma.config = preset(name, gemma.decoder.config)
            before[name] = float(losses(gemma).mean())
    finally:
        gemma.config, gemma.prefix_ids = preset("quality", gemma.decoder.config), kept
    for name in PRESETS:
        trained = MemoryDecoder.from_pretrained(config=name, dtype=torch.float32)
        trained.prefix_ids = trained.prompt.prefix_ids
        assert trained.reader is not None and trained.reader.folder == SHIPPED / trained.name
        assert float(losses(trained).mean()) < before[name]
        for question, answer, gold in (*ASKED, (*NOT_THERE, None)):
            tokens = written(trained, question, gold)
            assert trained.prompt.answer_text(tokens) == answer
            assert tokens[-1] == trained.tokenizer.eos_token_id, "it stops by itself"
