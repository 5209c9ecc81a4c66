"""Tokenizers: of a language model by its name, without loading the model; or trained from texts for one from scratch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from itertools import chain
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from memgpt_rag.hub.bundled import GEMMA, GENERATORS, generator_folder
from memgpt_rag.hub.model_files import gguf_file, loading

KIND = "language model"
_LINE_BREAKS = ("\n", "Ċ", "<0x0A>")  # as vocabularies spell them
_BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())


def load_tokenizer(name: str | Path) -> PreTrainedTokenizerBase:
    """Tokenizer of a language model.

    Args:
        name: hub name, folder, GGUF file, or the name of a model that comes as a package.

    Raises:
        ModelError: no such model, or a damaged one.
        MissingPackageError: it comes as a package that is not installed.
    """
    given = generator_folder(str(name)) or name
    source, settings = gguf_file(given)
    with loading(KIND, name, given, packages=GENERATORS):
        if str(name) == GEMMA:
            return _read_gemma(Path(given))
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **settings)
    return tokenizer


def _read_gemma(folder: Path) -> PreTrainedTokenizerBase:
    """Return what `AutoTokenizer` makes of the folder, which parses 33 MB of JSON twice in Python, in half the time."""
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    return PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        padding_side="left",
        name_or_path=str(folder),
        model_max_length=settings["model_max_length"],
        **{name: token for name, token in settings.items() if name.endswith("_token")},
    )


@lru_cache(maxsize=4)
def line_end_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Return the tokens that end a line: those that contain a line break, and the end of a text."""
    named = [id for token, id in tokenizer.get_vocab().items() if any(one in token for one in _LINE_BREAKS)]
    breaks = [id for id in named if "\n" in tokenizer.decode([id])]  # "Ċ" is a letter in vocabularies of other kinds
    return (*breaks, *([] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]))


def byte_tokenizer() -> PreTrainedTokenizerBase:
    """One token per byte of UTF-8: every text has tokens, in every language, and comes back as it was."""
    return _fast(Tokenizer(models.BPE(vocab={byte: place for place, byte in enumerate(_BYTES)}, merges=[])))


def bpe_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerBase:
    """Byte-level byte-pair encoding (Sennrich et al. 2016) with at most `vocab_size` tokens, trained from texts.

    Raises:
        ValueError: fewer tokens than there are bytes.
    """
    if vocab_size < len(_BYTES):
        raise ValueError(f"vocab_size is {vocab_size}; expected at least the {len(_BYTES)} bytes.")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=_BYTES, show_progress=False)
    )
    return _fast(tokenizer)


def character_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerBase:
    """One token per character that occurs in the texts; any other character becomes U+FFFD."""
    unknown = "\ufffd"
    characters = sorted({unknown, *chain.from_iterable(texts)})
    ids = {character: place for place, character in enumerate(characters)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("[\\s\\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False)


def _fast(tokenizer: Tokenizer) -> PreTrainedTokenizerBase:
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False)
