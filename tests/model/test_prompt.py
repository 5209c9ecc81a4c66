"""Prompts: one set of pieces for every mode, in the language of the question."""

from __future__ import annotations

import pytest
from hashing import passage
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from memgpt_rag.model.prompt import Prompt, detect_language

TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"


def tokenizer(chat_template: str | None = None) -> PreTrainedTokenizerFast:
    """One token a byte, so that nothing is lost and pieces join without surprises."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_ = Tokenizer(
        models.BPE({"<s>": 0, "</s>": 1, **{letter: number for number, letter in enumerate(alphabet, 2)}}, [])
    )
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    from tokenizers import decoders

    bytes_.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=bytes_, bos_token="<s>", eos_token="</s>", chat_template=chat_template
    )


@pytest.mark.parametrize(
    "text, language",
    [
        ("How long is it?", "en"),
        ("有多长？", "zh"),
        ("Debian 的最新版本是哪个？", "zh"),
        ("What does 公园 mean in English?", "en"),
        ("42?", "en"),
    ],
)
def test_the_language_of_a_question(text, language):
    assert detect_language(text) == language


def test_a_base_model_gets_worked_examples_in_both_languages():
    prompt = Prompt(tokenizer())
    assert prompt.prefix_ids[0] == 0
    text = prompt.tokenizer.decode(prompt.prefix_ids)
    assert "Question: How long is the Amazon?\nAnswer: about 6,400 km\n\n" in text
    assert "问题：亚马逊河流入哪个大洋？\n答案：大西洋\n\n" in text
    assert prompt.tokenizer.decode(prompt.entry_ids(passage(3))) == "Title 3\nFact number 3.\n\n"
    assert prompt.tokenizer.decode(prompt.question_ids(" Why? ")) == "Question: Why?\nAnswer:"
    assert prompt.tokenizer.decode(prompt.question_ids("为什么？")) == "问题：为什么？\n答案："


def test_a_chat_model_gets_its_own_turns():
    prompt = Prompt(tokenizer(TEMPLATE))
    pieces = prompt.tokenizer.decode([*prompt.prefix_ids, *prompt.entry_ids(passage(3)), *prompt.question_ids("Why?")])
    whole = prompt.tokenizer.apply_chat_template(
        [{"role": "user", "content": pieces.split("<|user|>")[1].split("<|end|>")[0]}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert pieces == whole
    assert pieces.endswith("Title 3\nFact number 3.\n\nQuestion: Why?<|end|><|assistant|>")


def test_the_answers_of_worked_examples_are_known_in_each_form():
    prompt = Prompt(tokenizer())
    shown = [prompt.tokenizer.decode(ids) for ids in prompt.example_answers]
    assert {"about 6,400 km", " about 6,400 km", "1891年", " 1891年"} < set(shown)
    assert all(
        f"Answer:{one}\n" in prompt.tokenizer.decode(prompt.prefix_ids)
        for one in shown
        if one[1:2].islower() and one[0] == " "
    )
    assert Prompt(tokenizer(TEMPLATE)).example_answers == ()


def test_the_answer_of_a_base_model_is_its_first_line():
    base, chat = Prompt(tokenizer()), Prompt(tokenizer(TEMPLATE))
    ids = base.tokenizer(" four\nQuestion: and", add_special_tokens=False)["input_ids"]
    assert base.answer_text([*ids, 1]) == "four"
    assert chat.answer_text([*ids, 1]) == "four\nQuestion: and"
