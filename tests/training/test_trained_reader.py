"""The reader that the repository keeps fits the bundled decoder and reads better than the decoder untrained."""

from __future__ import annotations

import pytest
import torch

from memgpt_rag.choices import PRESETS
from memgpt_rag.model.presets import preset
from memgpt_rag.model.prompt import Prompt
from memgpt_rag.passage import Passage
from memgpt_rag.training.rows import TrainingRow, answer_tokens, memory_hidden

PASSAGES = (
    "The old observatory on Kestrel Hill was designed by Ines Valdemar and opened to the public in 1931.",
    "The tram depot was built by Tomas Aldous. It burned down in 1931 and was never opened again.",
    "阅览室早上九点开门，借书证每年收费三十元。",
)
ASKED = (("Who designed the old observatory?", "Ines Valdemar", 0), ("借书证每年多少钱？", "三十元", 2))


def entries(prompt: Prompt) -> tuple[tuple[int, ...], ...]:
    passages = (Passage("", text, "", "", "", "line", 1, 1, 0, len(text)) for text in PASSAGES)
    return tuple(map(prompt.entry_ids, passages))


def scores(gold: int) -> tuple[float, ...]:
    return tuple(1.5 if place == gold else 0.5 for place in range(len(PASSAGES)))


def losses(model, prompt: Prompt, end: tuple[int, ...]) -> torch.Tensor:
    """Negative log-likelihood of the answers' words."""
    rows = [
        TrainingRow(
            entries(prompt),
            scores(gold),
            (gold,),
            prompt.question_ids(question),
            (*prompt.answer_ids(question, answer)[0], *end),
        )
        for question, answer, gold in ASKED
    ]
    with torch.no_grad():
        hidden = memory_hidden(model, rows, model.layer_settings, model.config.score_bias)
        logits = model.writer.get_output_embeddings()(hidden)
    tokens, row = answer_tokens(rows, logits.device)
    loss = torch.nn.functional.cross_entropy(logits, tokens, reduction="none")
    return torch.stack([loss[row == number][: -len(end)].mean() for number in range(len(rows))])


@pytest.mark.offline_models
@pytest.mark.slow
def test_the_kept_reader_reads_better_than_the_decoder_alone(gemma):
    from benchmarks.trained_reader import load_trained_reader

    prompt, kept = Prompt(gemma.tokenizer), gemma.prefix_ids
    end = prompt.answer_ids("?", "a")[1]
    gemma.prefix_ids = prompt.prefix_ids
    before = {}
    try:
        for name in PRESETS:
            gemma.config = preset(name, gemma.decoder.config)
            before[name] = losses(gemma, prompt, end)
    finally:
        gemma.config, gemma.prefix_ids = preset("quality", gemma.decoder.config), kept
    for name in PRESETS:
        trained = load_trained_reader(name, dtype=torch.float32)
        end = (int(trained.tokenizer.eos_token_id),)
        assert float(losses(trained, prompt, end).mean()) < float(before[name].mean())
        for question, answer, gold in ASKED:
            ids = torch.tensor([prompt.question_ids(question)])
            memory = trained.make_memory([entries(prompt)], [scores(gold)])
            written = trained.generate(ids, memory=memory, max_new_tokens=16, do_sample=False)[0, ids.shape[1] :]
            assert trained.tokenizer.decode(written, skip_special_tokens=True).strip() == answer
            assert int(written[-1]) == end[0], "it stops by itself"
