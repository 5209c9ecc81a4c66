"""How passages and questions are put into words for a language model.

One prompt has three kinds of pieces, and every mode uses the same ones: a prefix, entries, and a question at the end.
In memory mode the entries' states are attended to between prefix and question; in prompt mode they stand there as text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from transformers import PreTrainedTokenizerBase

from memgpt_rag.errors import MismatchError, ModelError, first_line
from memgpt_rag.io.printable import shortened
from memgpt_rag.limits import MOST_CHARACTERS, MOST_ENTRY_TOKENS, MOST_PROMPT_TOKENS, MOST_QUESTION_TOKENS
from memgpt_rag.model.answer_text import AnswerEnd
from memgpt_rag.passage import Passage
from memgpt_rag.plain_text import control_tokens, plain_readers

HAN = r"\u3400-\u9fff\uf900-\ufaff"  # Chinese characters, as a class of a regular expression
_HAN = re.compile(rf"[{HAN}]")
_LETTER = re.compile(r"[^\W\d_]")
MARK = "\x00"  # stands in a chat template for what a user says
# Of long tokens, such as runs of spaces.
_MOST_CHARACTERS_OF_TOKEN = 64

_ASK = {"en": "Question: {}\nAnswer:", "zh": "问题：{}\n答案："}
# What a reader is trained to say, in the question's language, where no entry holds the answer.
NOT_IN_MEMORY = {"en": "not in memory", "zh": "记忆中没有"}

# Worked examples for models that were not taught to follow instructions: a passage, a question, a short answer.
_EXAMPLES = (
    (
        "The Amazon is the largest river of South America. It is about 6,400 km long and flows into the Atlantic Ocean.",
        "How long is the Amazon?",
        " about 6,400 km",
    ),
    ("亚马逊河是南美洲最大的河流，全长约6400公里，流入大西洋。", "亚马逊河流入哪个大洋？", "大西洋"),
    (
        "Marie Curie moved to Paris in 1891 to study physics. In 1903 she shared the Nobel Prize with her husband Pierre "
        "and with Henri Becquerel.",
        "Who shared the Nobel Prize with Marie Curie?",
        " Pierre and Henri Becquerel",
    ),
    (
        "居里夫人于1891年前往巴黎学习物理。1903年，她与丈夫皮埃尔和亨利·贝克勒尔分享了诺贝尔奖。",
        "居里夫人哪一年前往巴黎？",
        "1891年",
    ),
)
_INSTRUCTION = "Answer the question with a short phrase from the text, in the language of the question. 请用提问的语言，以原文中的短语简短回答。"


def detect_language(text: str) -> str:
    """ "zh" where at least a third of the letters are Chinese characters, else "en"."""
    letters = len(_LETTER.findall(text))
    return "zh" if letters and len(_HAN.findall(text)) >= letters / 3 else "en"


def _entry(passage: Passage) -> str:
    """A passage as it stands between prefix and question."""
    return f"{passage.titled_text}\n\n"


def _is_text(text: str) -> bool:
    """Whether a text can be written in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True)
class Prompt:
    """Token ids of the pieces, for one tokenizer.

    Passages, questions and answers are read as plain text: what they say, such as <eos>, is never a control token, so that none
    of them can end the text or forge a turn. Control tokens come from the chat template alone.

    A tokenizer with a chat template gets an instruction inside a user's turn; one without gets worked examples.

    Attributes:
        worked_examples: False for a model that was trained to answer (see `Reader`): it needs no examples, and it ends its
            answers with the end-of-text token.
        think: whether a model whose chat template has a thinking mode thinks before it answers.
    """

    tokenizer: PreTrainedTokenizerBase
    worked_examples: bool = True
    think: bool = False

    @cached_property
    def prefix_ids(self) -> tuple[int, ...]:
        """What stands before all entries; begins with the beginning-of-text token, where the tokenizer has one."""
        if self.is_chat:
            return self._template_ids(self._turn[0])
        return self.example_ids if self.worked_examples else self._begin

    @property
    def example_ids(self) -> tuple[int, ...]:
        """The beginning-of-text token, where the tokenizer has one, and the worked examples."""
        examples = "".join(
            f"{text}\n\n{_ASK[detect_language(asked)].format(asked)}{answer}\n\n" for text, asked, answer in _EXAMPLES
        )
        return (*self._begin, *self._ids(examples))

    @property
    def instruction(self) -> str:
        """What a model with a chat template is asked to do, before entries and question."""
        return _INSTRUCTION

    @property
    def _begin(self) -> tuple[int, ...]:
        return () if self.tokenizer.bos_token_id is None else (self.tokenizer.bos_token_id,)

    def entry_ids(self, passage: Passage) -> tuple[int, ...]:
        """A passage under its title.

        Raises:
            MismatchError: it is longer than any that the index job makes.
        """
        ids, found = self._counted(_entry(passage), MOST_ENTRY_TOKENS)
        if ids is None:
            raise MismatchError(
                f"The entry {shortened(passage.id)!r} has {found}; a language model is given at most {MOST_ENTRY_TOKENS:,} "
                "tokens of one. Delete it, or build the memory again with a smaller --max-tokens."
            )
        return ids

    def entry_spans(self, passage: Passage) -> list[tuple[int, int]] | None:
        """The characters of the passage's text in each token of `entry_ids`, as (start, end); None where the tokenizer can't say.

        Tokens of the title and of what stands around the text have none: their start is their end.
        """
        if (spans := self._readers[1]) is None:
            return None
        before, length = len(passage.titled_text) - len(passage.text), len(passage.text)
        return [
            (min(max(start - before, 0), length), min(max(end - before, 0), length))
            for start, end in spans(_entry(passage))
        ]

    def first_entry_ids(self, passage: Passage, most: int) -> tuple[int, ...]:
        """The first so many tokens of a passage under its title, however long it is."""
        return self._ids(f"{passage.titled_text[: most * _MOST_CHARACTERS_OF_TOKEN]}\n\n")[:most]

    def token_ids(self, text: str) -> tuple[int, ...]:
        """Tokens of any text, which is read as plain text.

        Raises:
            ValueError: it holds half a character.
        """
        return self._ids(text)

    def question_ids(self, question: str) -> tuple[int, ...]:
        """The question and everything up to where the answer begins.

        Raises:
            ValueError: it is too long, or no text.
        """
        asked = self.asked_text(question)
        if not self.is_chat:
            return self._question(asked)
        text, control = self._end_of_turn
        return self._question(asked.rsplit("\n", 1)[0] + text, control)

    def question_row(
        self, question: str, pasted: Sequence[Passage], context: str = "", pictures: Sequence[int] = ()
    ) -> list[int]:
        """Tokens of a question after what stands in the prompt: passages, best first, then the question's context and pictures.

        The best passage stands last, nearest to the question.
        """
        before = [token for passage in reversed(pasted) for token in self.entry_ids(passage)]
        return [*before, *self.context_ids(context), *pictures, *self.question_ids(question)]

    def context_ids(self, context: str) -> tuple[int, ...]:
        """Tokens of instructions and earlier turns, which stand between the entries and the question; none for no text.

        Raises:
            ValueError: it is too long, or no text.
        """
        if not context.strip():
            return ()
        ids, found = self._counted(f"{context.strip()}\n\n", MOST_PROMPT_TOKENS)
        if ids is None:
            raise ValueError(
                f"What stands before the question has {found}; expected at most {MOST_PROMPT_TOKENS:,} tokens."
            )
        return ids

    def asked_text(self, question: str) -> str:
        """A question in the words of the prompt, up to where its answer begins: "Question: …\\nAnswer:"."""
        return _ASK[detect_language(question)].format(question.strip())

    def asked_ids(self, question: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What stands before a question's own words, and these words.

        Raises:
            ValueError: as `question_ids`.
        """
        before, _, _ = _ASK[detect_language(question)].partition("{}")
        asked = question.strip() if before.endswith("：") else " " + question.strip()
        return self._ids(before.strip()), self._question(asked)

    def answer_ids(self, question: str, answer: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """An answer as it follows its question, and what ends it."""
        if self.is_chat:
            return self._ids(answer), (self.tokenizer.eos_token_id,)
        space = "" if detect_language(question) == "zh" else " "
        return self._ids(space + answer), self._ids("\n\n") if self.worked_examples else (self.tokenizer.eos_token_id,)

    @property
    def is_chat(self) -> bool:
        """Whether the model takes turns, as its tokenizer's chat template says."""
        return bool(self.tokenizer.chat_template)

    @cached_property
    def answer_end(self) -> AnswerEnd:
        """Where an answer ends in the model's output.

        A model that takes turns, or was trained to read, ends its answers itself; others are shown worked examples.
        """
        return AnswerEnd(self.tokenizer, self.is_chat or not self.worked_examples)

    def answer_text(self, token_ids: Sequence[int]) -> str:
        """The answer in a model's output."""
        return self.answer_end.text(token_ids)

    @cached_property
    def example_answers(self) -> tuple[tuple[int, ...], ...]:
        """Tokens of the answers in the worked examples, with and without a space before them; none where there are no examples."""
        answers = [] if self.is_chat or not self.worked_examples else [answer.strip() for _, _, answer in _EXAMPLES]
        return tuple(self._ids(space + answer) for answer in answers for space in ("", " "))

    @cached_property
    def _turn(self) -> tuple[str, str]:
        """A user's turn of the chat template, before and after the place of entries and question.

        Raises:
            ModelError: the template fails, or leaves the message out.
        """
        said, reason = f"{self.instruction}\n\n{MARK}", ""
        for content in (said, [{"type": "text", "text": said}]):  # templates of models that read pictures take parts
            try:
                turn: str = self.tokenizer.apply_chat_template(
                    [{"role": "user", "content": content}],
                    tokenize=False,
                    add_generation_prompt=True,
                    enable_thinking=self.think,
                )
            except Exception as error:  # a template is a program, in a sandbox, and may raise anything
                reason = reason or first_line(error)
                continue
            if turn.count(MARK) == 1:
                before, _, after = turn.partition(MARK)
                return before, after
            reason = reason or f"it says a message {turn.count(MARK)} times, not once"
        raise self._bad_template(reason)

    @cached_property
    def _end_of_turn(self) -> tuple[str, tuple[int, ...]]:
        """What follows the question in its turn: text, up to the template's first control token, and tokens from there on.

        Text is read together with the question, so that its tokens are those of the whole turn.
        """
        after = self._turn[1]
        first = min(
            (after.find(token) for token in control_tokens(self.tokenizer) if token in after), default=len(after)
        )
        return after[:first], self._template_ids(after[first:])

    def _template_ids(self, text: str) -> tuple[int, ...]:
        """Tokens of a part of the chat template, the only text whose control tokens are such."""
        options = {"add_special_tokens": False, "split_special_tokens": False, "verbose": False}
        return tuple(self.tokenizer(text, **options)["input_ids"]) if text else ()

    def _bad_template(self, reason: str) -> ModelError:
        return ModelError(
            f"The chat template of the language model {self.tokenizer.name_or_path!r} cannot be used ({reason}); download the "
            "model again, or name another one."
        )

    def _question(self, text: str, behind: tuple[int, ...] = ()) -> tuple[int, ...]:
        ids, found = self._counted(text, MOST_QUESTION_TOKENS, behind)
        if ids is None:
            raise ValueError(f"The question has {found}; expected at most {MOST_QUESTION_TOKENS:,} tokens.")
        return ids

    def _counted(self, text: str, most: int, behind: tuple[int, ...] = ()) -> tuple[tuple[int, ...] | None, str]:
        """Tokens of a text and those behind it, None where they are more than the most; and how many of what there are."""
        if len(text) > MOST_CHARACTERS:
            return None, f"{len(text):,} characters"
        ids = (*self._ids(text), *behind)
        return ids if len(ids) <= most else None, f"{len(ids):,} tokens"

    @cached_property
    def _readers(self) -> tuple[Callable[[str], list[int]], Callable[[str], list[tuple[int, int]]] | None]:
        return plain_readers(self.tokenizer)

    @cached_property
    def _ids(self) -> Callable[[str], tuple[int, ...]]:
        """Tokens of a text, in which no control token is one. The latest are remembered: reading entries anew costs as much
        as fetching their states.
        """
        read, _ = self._readers

        @lru_cache(maxsize=2048)
        def ids(text: str) -> tuple[int, ...]:
            if not _is_text(text):
                raise ValueError(f"{shortened(text)!r} holds half a character, which no text in UTF-8 can hold.")
            return tuple(read(text))

        return ids
