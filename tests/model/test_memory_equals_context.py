"""Memory attention against plain attention over the same tokens in one sequence, for many architectures."""

from __future__ import annotations

import pytest
import torch
from tiny import ARCHITECTURES, GLOBAL, MIXED, WINDOW, random_ids, tiny_decoder
from transformers import DynamicCache

from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder

PREFIX, ENTRY, OTHER, QUESTION = random_ids(5, 1), random_ids(11, 2), random_ids(7, 3), random_ids(6, 4)
PLAIN = MemoryAttentionConfig(layers="all")

every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


def make_model(architecture: str, config: MemoryAttentionConfig = PLAIN) -> MemoryDecoder:
    return MemoryDecoder(tiny_decoder(architecture), None, config=config, prefix_ids=PREFIX)


def ids(*rows: list[int]) -> torch.Tensor:
    return torch.tensor(rows)


@torch.no_grad()
def logits(
    model: MemoryDecoder, question: list[int], entries: list[list[int]], scores: list[float] | None = None
) -> torch.Tensor:
    memory = model.make_memory([entries], None if scores is None else [scores])
    return model(ids(question), memory=memory).logits[0]


@torch.no_grad()
def in_context(model: MemoryDecoder, *parts: list[int]) -> torch.Tensor:
    """Logits of the last part, with all parts in one plain sequence."""
    return model(ids(sum(parts, []))).logits[0, -len(parts[-1]) :]


@every_architecture
def test_a_retrofitted_decoder_without_memory_gives_identical_logits(architecture):
    decoder = tiny_decoder(architecture)
    with torch.no_grad():
        before = decoder(ids(PREFIX + QUESTION)).logits
        model = MemoryDecoder(decoder, None, config=PLAIN, prefix_ids=PREFIX)
        after = model(ids(PREFIX + QUESTION)).logits
    assert decoder.config._attn_implementation.startswith("memgpt_over_")
    assert torch.equal(before, after)


@every_architecture
def test_an_empty_memory_gives_the_logits_of_the_base_model(architecture):
    model = make_model(architecture)
    cache = DynamicCache()
    with torch.no_grad():
        model.decoder(ids(PREFIX), past_key_values=cache)
        base = model.decoder(ids(QUESTION), past_key_values=cache).logits[0]
    # Identical to the base model that reads its prefix first, which is how the prefix is shared.
    assert torch.equal(logits(model, QUESTION, []), base)
    torch.testing.assert_close(base, in_context(model, PREFIX, QUESTION), atol=1e-4, rtol=0)


@every_architecture
@pytest.mark.parametrize("length", [1, WINDOW - 2, WINDOW, 30])
def test_one_entry_after_the_prefix_equals_the_same_text_in_the_prompt(architecture, length):
    model, entry = make_model(architecture), random_ids(length, 5)
    with_memory, in_prompt = logits(model, QUESTION, [entry]), in_context(model, PREFIX, entry, QUESTION)
    assert (with_memory - in_prompt).abs().max() <= 1e-4
    assert (with_memory - in_context(model, PREFIX, QUESTION)).abs().max() > 1e-2


@every_architecture
def test_a_long_question_slides_out_of_the_windows_as_it_does_in_the_prompt(architecture):
    model, question = make_model(architecture), random_ids(3 * WINDOW, 6)
    assert (logits(model, question, [ENTRY]) - in_context(model, PREFIX, ENTRY, question)).abs().max() <= 1e-4


@pytest.mark.parametrize("architecture", GLOBAL)
@pytest.mark.parametrize("bias", [0.0, 4.0])
def test_several_entries_equal_one_sequence_in_which_entries_do_not_see_each_other(architecture, bias):
    """The whole model over prefix, entries and question in one sequence, with a mask and positions made by hand."""
    model = make_model(architecture, MemoryAttentionConfig(score_bias=bias))
    scores = [0.9, 0.4]
    first, second = len(PREFIX), len(PREFIX) + len(ENTRY)
    asked = second + len(OTHER)
    length = asked + len(QUESTION)
    mask = torch.zeros(length, length).masked_fill(
        torch.ones(length, length).triu(1).bool(), torch.finfo(torch.float32).min
    )
    mask[second:asked, first:second] = torch.finfo(torch.float32).min
    mask[asked:, second:asked] += bias * (scores[1] - scores[0])
    gap = max(len(ENTRY), len(OTHER))
    positions = [*range(second), *range(first, first + len(OTHER)), *range(first + gap, first + gap + len(QUESTION))]
    with torch.no_grad():
        plain = tiny_decoder(architecture)(
            ids(PREFIX + ENTRY + OTHER + QUESTION), attention_mask=mask[None, None], position_ids=ids(positions)
        ).logits[0, asked:]
    assert (logits(model, QUESTION, [ENTRY, OTHER], scores) - plain).abs().max() <= 1e-4


@every_architecture
def test_the_order_of_entries_does_not_matter(architecture):
    model = make_model(
        architecture, MemoryAttentionConfig(score_bias=5.0, inverse_temperature=1.1, offset=0.3, top_m=9)
    )
    one = logits(model, QUESTION, [ENTRY, OTHER, ENTRY[:4]], [0.8, 0.6, 0.1])
    other = logits(model, QUESTION, [ENTRY[:4], ENTRY, OTHER], [0.1, 0.8, 0.6])
    assert (one - other).abs().max() <= 1e-5


@every_architecture
def test_top_m_of_at_least_all_tokens_equals_dense(architecture):
    dense = logits(make_model(architecture), QUESTION, [ENTRY, OTHER])
    tokens = len(ENTRY) + len(OTHER)
    for top_m in (tokens, tokens + 1):
        assert torch.equal(
            logits(make_model(architecture, MemoryAttentionConfig(top_m=top_m)), QUESTION, [ENTRY, OTHER]), dense
        )
    assert not torch.allclose(
        logits(make_model(architecture, MemoryAttentionConfig(top_m=2)), QUESTION, [ENTRY, OTHER]), dense, atol=1e-3
    )


@every_architecture
def test_cached_decoding_equals_decoding_without_a_cache(architecture):
    model, steps = make_model(architecture), 2 * WINDOW
    settings = {
        "max_new_tokens": steps,
        "min_new_tokens": steps,
        "do_sample": False,
        "return_dict_in_generate": True,
        "output_logits": True,
    }
    runs = [
        model.generate(
            ids(QUESTION), memory=model.make_memory([[ENTRY, OTHER]], [[0.5, 0.2]]), use_cache=use_cache, **settings
        )
        for use_cache in (True, False)
    ]
    assert torch.equal(runs[0].sequences, runs[1].sequences)
    assert runs[0].sequences[0, : len(QUESTION)].tolist() == QUESTION
    assert (torch.stack(runs[0].logits) - torch.stack(runs[1].logits)).abs().max() <= 1e-4


@every_architecture
def test_forward_goes_on_from_a_cache(architecture):
    model = make_model(architecture)
    whole = logits(model, QUESTION, [ENTRY])
    memory = model.make_memory([[ENTRY]])
    with torch.no_grad():
        start = model(ids(QUESTION[:2]), memory=memory, use_cache=True)
        rest = model(ids(QUESTION[2:]), memory=memory, past_key_values=start.past_key_values).logits[0]
    assert (rest - whole[2:]).abs().max() <= 1e-4


@every_architecture
def test_a_row_of_a_batch_equals_that_row_alone(architecture):
    """Rows differ in question, in the number and length of entries, and one has no memory at all."""
    model = make_model(architecture, MemoryAttentionConfig(score_bias=3.0, top_m=6))
    questions = [QUESTION, random_ids(3, 8), random_ids(9, 9)]
    entries, scores = [[ENTRY, OTHER], [], [OTHER]], [[0.2, 0.5], [], [0.9]]
    width = max(map(len, questions))
    batch = ids(*[[0] * (width - len(question)) + question for question in questions])
    mask = ids(*[[0] * (width - len(question)) + [1] * len(question) for question in questions])
    with torch.no_grad():
        together = model(batch, mask, memory=model.make_memory(entries, scores)).logits
    for row, question in enumerate(questions):
        alone = logits(model, question, entries[row], scores[row])
        assert (together[row, -len(question) :] - alone).abs().max() <= 1e-4, f"row {row}"
    settings = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    written = model.generate(batch, mask, memory=model.make_memory(entries, scores), **settings)
    for row, question in enumerate(questions):
        alone = model.generate(ids(question), memory=model.make_memory([entries[row]], [scores[row]]), **settings)
        assert written[row, width:].tolist() == alone[0, len(question) :].tolist(), f"row {row}"


@every_architecture
def test_states_do_not_depend_on_the_batch_they_were_written_in(architecture):
    alone, together = make_model(architecture), make_model(architecture)
    entries = [ENTRY, OTHER, random_ids(20, 10)]
    for entry, states in zip(entries, together.entry_states(entries), strict=True):
        for layer, keys in alone.entry_states([entry])[0].keys.items():
            torch.testing.assert_close(states.keys[layer], keys, atol=1e-5, rtol=0)
            assert keys.shape[1] == len(entry)


@pytest.mark.parametrize("architecture", MIXED)
def test_memory_in_the_global_layers_equals_a_mask_that_hides_it_from_the_others(architecture):
    """Sliding layers see no entry, and see the prefix only where the window still reaches it over the memory."""
    model = make_model(architecture, MemoryAttentionConfig(layers="global"))
    question = random_ids(2 * WINDOW, 6)
    entry, asked = len(PREFIX), len(PREFIX) + len(ENTRY)
    length = asked + len(question)
    place = torch.arange(length)
    distance = place[:, None] - place[None, :]
    visible = {"full_attention": distance >= 0, "sliding_attention": (distance >= 0) & (distance < WINDOW)}
    visible["sliding_attention"][asked:, entry:asked] = False
    lowest = torch.finfo(torch.float32).min
    masks = {kind: torch.zeros(length, length).masked_fill(~seen, lowest)[None, None] for kind, seen in visible.items()}
    with torch.no_grad():
        plain = tiny_decoder(architecture, attn_implementation="eager")(
            ids(PREFIX + ENTRY + question), attention_mask=masks
        )
    assert (logits(model, question, [ENTRY]) - plain.logits[0, asked:]).abs().max() <= 1e-4
    assert (logits(model, question, [ENTRY]) - logits(make_model(architecture), question, [ENTRY])).abs().max() > 1e-2
