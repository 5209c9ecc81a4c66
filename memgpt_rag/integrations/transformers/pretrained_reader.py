"""Readers and presets with the methods of pretrained models: saved with a model card, shared through the Hub, loaded by name."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from memgpt_rag.choices import PRESETS
from memgpt_rag.errors import ModelError
from memgpt_rag.model import MemoryAttentionConfig, MemoryDecoder
from memgpt_rag.model.reader import NONE, load_reader, push_reader, reader_folder, save_reader
from memgpt_rag.model.reader_files import CARD, reader_model


class PretrainedReader:
    """What a decoder reads memory with: its reader, where it has one, and its presets.

    Args:
        model: the decoder with its reader.
        presets: how memory and local context share attention, by name of the preset; None for those of its reader.

    Raises:
        ValueError: a preset of another name than "quality" and "compact", or neither a reader nor a preset.

    Example:
        >>> PretrainedReader(model, {"quality": model.config}).save_pretrained("my-reader")
        >>> PretrainedReader.from_pretrained("my-reader").model.config == model.config
        True
    """

    def __init__(self, model: MemoryDecoder, presets: dict[str, MemoryAttentionConfig] | None = None):
        self.model = model
        own = {} if model.reader is None else model.reader.presets
        self.presets = {**own, **(presets or {})}
        if unknown := sorted(self.presets.keys() - set(PRESETS)):
            raise ValueError(f"There is no preset {', '.join(unknown)}; expected some of {', '.join(PRESETS)}.")
        if model.reader is None and model.delimiters is None and not self.presets:
            raise ValueError("The model has no reader and no presets were given; there is nothing to save.")

    @classmethod
    def from_pretrained(
        cls, name: str | Path, model: MemoryDecoder | str | Path | None = None, **settings: Any
    ) -> PretrainedReader:
        """Load a reader and attach it to its model.

        Args:
            name: a folder, or a repository on the Hub.
            model: a decoder, or its name; None for the name that the reader was trained for.
            settings: passed on to `MemoryDecoder.from_pretrained`, where the decoder is loaded here.

        Raises:
            ModelError: there is no such reader or model, or it is damaged.
            MismatchError: it was trained for another model.
        """
        folder = reader_folder(name, "")
        if folder is None:
            raise ModelError(f"There is no reader {name!r}; name a folder or a repository.")
        if not isinstance(model, MemoryDecoder):
            wanted = reader_model(folder) if model is None else model
            model = MemoryDecoder.from_pretrained(wanted, reader=NONE, **settings)
        reader = load_reader(model, folder)
        model.config = reader.presets.get("quality", model.config)
        return cls(model, reader.presets)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write reader, presets and model card into a folder; a card that is there stays, and so does that of a reader that was loaded.

        Raises:
            OSError: the folder cannot be written.
        """
        save_reader(self.model, folder, presets=self.presets)
        card, reader = Path(folder) / CARD, self.model.reader
        if not card.exists():
            if reader is not None and (reader.folder / CARD).is_file():
                shutil.copyfile(reader.folder / CARD, card)
            else:
                self.model_card().save(card)

    def push_to_hub(self, repository: str, **settings: Any) -> str:
        """Upload reader, presets and model card; return the address of the commit.

        Args:
            repository: name of a repository of yours, which is created where it does not exist.
            settings: passed on to `HfApi.create_repo`, such as private=True or token.

        Raises:
            ModelError: the Hub refuses it.
        """
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return push_reader(folder, repository, **settings)

    def model_card(self) -> ModelCard:
        """Return the model card: what it is for, what is in it, its presets in numbers, and how it is used."""
        model, reader, delimiters = self.model, self.model.reader, self.model.delimiters
        base = model.name if "/" in model.name and not Path(model.name).exists() else None  # a name on the Hub
        data = ModelCardData(
            base_model=base,
            library_name="memgpt_rag",
            pipeline_tag="question-answering",
            tags=["memory-attention", "retrieval-augmented-generation"],
        )
        name = base or Path(model.name).name
        parts = [f"presets {', '.join(sorted(self.presets))}"] if self.presets else []
        if delimiters is not None:
            prefix, entry = len(delimiters.prefix), len(delimiters.entry)
            parts.insert(0, f"delimiters, {prefix} behind the prefix and {entry} behind every entry")
        if reader is not None and reader.adapter is not None:
            parts.insert(0, f"a LoRA adapter of rank {reader.adapter.settings.rank}")
        rows = [
            f"| `{preset}` | " + " | ".join(_shown(value) for value in asdict(config).values()) + " |"
            for preset, config in sorted(self.presets.items())
        ]
        fields = list(asdict(MemoryAttentionConfig()))
        table = ["| preset | " + " | ".join(fields) + " |", "|---" * (len(fields) + 1) + "|", *rows] if rows else []
        lines = [
            f"---\n{data.to_yaml()}\n---",
            f"# A reader of memory for {name}",
            f"It lets {name} read a memory inside its attention, with memgpt_rag. It holds {'; '.join(parts)}.",
            "```python\nfrom memgpt_rag import RAG\n\n"
            f'rag = RAG.open("my-memory", model="{name}", reader="this-repository")\n```',
            "\n".join(table),
        ]
        return ModelCard("\n\n".join(line for line in lines if line) + "\n")


def _shown(value: Any) -> str:
    """Return a number as it is; of numbers for single layers and heads, how many there are."""
    if not isinstance(value, tuple):
        return f"`{value}`"
    counts = {len(one) for one in value if isinstance(one, tuple)}
    return f"{len(value)} layers" + (f" × {counts.pop()} heads" if counts else "")
