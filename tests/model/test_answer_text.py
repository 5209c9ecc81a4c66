"""The characters that each token of an answer wrote."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from memgpt_rag.hub.bundled import GEMMA
from memgpt_rag.model.answer_text import written_spans
from memgpt_rag.model.tokenizer import bpe_tokenizer, byte_tokenizer, load_tokenizer

TEXTS = ["40 yuan an hour", " 公园里可以划船。", "1. Run `apt`\n2. Wait\n\n", "naïve 😀 𠀀 ﬁne", "", "   ", "\ufffd?"]


def metaspace() -> PreTrainedTokenizerFast:
    """A tokenizer of the kind of Llama 2, whose decoder takes the first space off."""
    letters = sorted({character for text in TEXTS for character in text.replace(" ", "▁")} | {"▁"})
    plain = Tokenizer(models.BPE({letter: place for place, letter in enumerate(letters)}, []))
    plain.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    plain.decoder = decoders.Metaspace(prepend_scheme="first")
    return PreTrainedTokenizerFast(tokenizer_object=plain)


TOKENIZERS = {
    "bytes": byte_tokenizer,
    "byte pairs": lambda: bpe_tokenizer(TEXTS, 300),
    "metaspace": metaspace,
    "Gemma": lambda: load_tokenizer(GEMMA),
}


@pytest.mark.parametrize("name", [*list(TOKENIZERS)[:-1], pytest.param("Gemma", marks=pytest.mark.offline_models)])
def test_spans_are_what_decoding_ever_longer_beginnings_gives(name):
    tokenizer = TOKENIZERS[name]()
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        decoded = tokenizer.decode(ids, skip_special_tokens=True)
        spans = written_spans(tokenizer, ids, decoded)
        assert [start for start, _ in spans] == [0, *(end for _, end in spans)][: len(ids)], "one behind the other"
        if "\ufffd" in text:
            continue  # which looks like a character that is not finished: its token's successor has it
        if ids:
            assert spans[-1][1] == len(decoded)
        for place, (_, end) in enumerate(spans, 1):
            beginning = tokenizer.decode(ids[:place], skip_special_tokens=True)
            if beginning.endswith("\ufffd"):  # a character that is not finished
                assert beginning.startswith(decoded[:end])
            else:
                assert beginning == decoded[:end], (text, place)


def test_spans_count_from_the_beginning_of_the_text_without_its_white_space():
    tokenizer = byte_tokenizer()
    ids = tokenizer("  ab \n", add_special_tokens=False)["input_ids"]
    assert written_spans(tokenizer, ids, "ab") == [(0, 0), (0, 0), (0, 1), (1, 2), (2, 2), (2, 2)]
