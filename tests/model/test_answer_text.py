"""The characters that each token of an answer wrote."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from memgpt_rag.hub.bundled import GEMMA
from memgpt_rag.model.answer_text import AnswerEnd, answer_end, written_spans
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


@pytest.mark.parametrize(
    "written, answer, is_over",
    [
        (" 40 yuan", "40 yuan", False),
        (" 40 yuan an hour\n", "40 yuan an hour", True),
        (" 40 yuan\n\nThe lake is deep.", "40 yuan", True),
        ("大西洋\n\n问题：", "大西洋", True),
        ("\n\nThe lake is deep.\n", "", True),
        ("\nThe lake is deep.\n", "", True),
        ("\n1. Open it.\n2. Close it.\n\nQuestion: Why?", "1. Open it.\n2. Close it.", True),
        (" Run:\n", "Run:", False),
        (" Run:\n\nQuestion: Why?", "Run:", True),
        (" Run:\n\napt update\n", "Run:\n\napt update", False),
        (" Run:\n\napt update\napt upgrade\n\nThe lake", "Run:\n\napt update\napt upgrade", True),
        (" 1. Open it.\n2", "1. Open it.", False),
        (" 1. Open it.\n2. Close it.\n\n3. Wait.\n\nThe lake is deep", "1. Open it.\n2. Close it.\n\n3. Wait.", True),
        ("如下：\n1、打开\n2、关闭\n\n问题：什么？", "如下：\n1、打开\n2、关闭", True),
        (
            " - To list:\n\napt list\n\n- To show:\n\napt show\n\nThe lake is deep",
            "- To list:\n\napt list\n\n- To show:\n\napt show",
            True,
        ),
        (" $ apt update\n$ apt upgrade\nThe lake is deep.", "$ apt update\n$ apt upgrade", True),
        ("\n```\napt update\n\napt upgrade\n```\nThe lake is deep.", "```\napt update\n\napt upgrade\n```", True),
        (" J. R. Tolkien\nThe lake is deep.", "J. R. Tolkien", True),
    ],
)
def test_an_answer_ends_with_its_line_or_with_what_it_began(written, answer, is_over):
    tokenizer = byte_tokenizer()
    ids = tokenizer(written, add_special_tokens=False)["input_ids"]
    end = AnswerEnd(tokenizer, itself=False)
    assert end.text(ids) == answer
    assert answer_end(written)[1] == is_over
    assert tokenizer.decode(end.tokens(ids)).strip() == answer
    # What is certain while it is written stays, up to where it is over.
    over = next((place for place in range(1, len(ids) + 1) if end.is_reached(ids[:place])), None)
    assert (over is not None) == is_over
    certain = [end.settled(ids[:place]) for place in range(over or len(ids))]
    assert certain == sorted(certain)
    assert end.text(ids[:over]).strip() == answer
    assert answer.startswith(tokenizer.decode(ids[: certain[-1]]).strip())
    itself = AnswerEnd(tokenizer, itself=True)
    assert (itself.text(ids), itself.tokens(ids), itself.is_reached(ids)) == (written.strip(), ids, False)
