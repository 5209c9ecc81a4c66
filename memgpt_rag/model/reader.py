"""Readers: what was trained so that a decoder reads memory better than untrained. Which one a name stands for, and how it is
attached to a model, saved, and shared through a hub.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from memgpt_rag.errors import MismatchError, ModelError, first_line
from memgpt_rag.fingerprint import PROBE_PASSAGE, SAME_STATES
from memgpt_rag.hub.bundled import GENERATORS
from memgpt_rag.model.adapter_files import SETTINGS, WEIGHTS
from memgpt_rag.model.adapter_merge import merged_decoder
from memgpt_rag.model.config import MemoryAttentionConfig
from memgpt_rag.model.reader_files import CARD, FILES, READER, Reader, learned_to_decline, read_reader, write_reader

if TYPE_CHECKING:
    from peft import PeftModel

    from memgpt_rag.model.decoder import MemoryDecoder

AUTO, NONE = "auto", "none"
SHIPPED = Path(__file__).with_name("readers")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def reader_folder(reader: str | Path | None, model: str | Path) -> Path | None:
    """Return the folder of a reader.

    Args:
        reader: "auto" for the reader that ships for this model, where one does; "none" or None for no reader; a folder; or the
            name of a repository on the Hugging Face hub.
        model: name of the language model.

    Raises:
        ModelError: there is no such folder, and no such repository.
    """
    if reader is None or str(reader) == NONE:
        return None
    if str(reader) == AUTO:
        shipped = SHIPPED / str(model)
        return shipped if str(model) in GENERATORS and shipped.is_dir() else None
    if Path(reader).exists() or not _HUB_NAME.fullmatch(str(reader)):
        return Path(reader)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(reader), allow_patterns=[*FILES, CARD]))
    except Exception as error:  # of the network, of the hub, or of the cache
        raise ModelError(
            f"There is no reader {str(reader)!r}: no such folder, and the Hugging Face hub gives none "
            f"({first_line(error)}). Name a folder that memgpt-rag train wrote, a repository, {AUTO!r} or {NONE!r}."
        ) from error


def load_reader(model: MemoryDecoder, folder: str | Path) -> Reader:
    """Let a model read with the reader in a folder; where that fails, the model keeps the reader that it had.

    Raises:
        ModelError: the folder holds no reader, or a damaged one.
        MismatchError: it was trained for another model.
    """
    model.writer.requires_grad_(False)

    def require(name: str, trained: torch.Tensor) -> None:
        here = probe(model)
        agreement = float(torch.cosine_similarity(trained, here, dim=0)) if trained.shape == here.shape else 0.0
        if not agreement >= SAME_STATES:
            raise MismatchError(
                f"The reader in {folder} was trained for {name!r} and is to read with {model.name!r}, which reads the same text "
                f"otherwise (cosine {agreement:.3f}). Load the model that it was trained for, or train another reader."
            )

    reader = read_reader(Path(folder), model.writer, require)
    decoder = model.writer
    if (adapter := reader.adapter) is not None:
        decoder = merged_decoder(decoder, adapter.settings, adapter.weights)
    model.reader = reader
    model.read_with(decoder)
    return reader


def save_reader(
    model: MemoryDecoder,
    folder: str | Path,
    *,
    adapter: PeftModel | None = None,
    presets: dict[str, MemoryAttentionConfig] | None = None,
    declines: bool = False,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write what was trained for a model into a folder, as `load_reader` reads it.

    Args:
        adapter: of peft; None for that of the model's reader, where it has one.
        presets: how memory and local context share attention, where that was trained, too.
        declines: whether it was trained to answer "not in memory"; one whose reader was before still does.
        dtype: of the adapter's weights in the file.

    Raises:
        OSError: the folder cannot be written.
    """
    folder, reader = Path(folder), model.reader
    if adapter is not None:
        adapter.peft_config["default"].base_model_name_or_path = model.name
        weights = {name: one.to(dtype) for name, one in adapter.state_dict().items() if ".lora_" in name}
        adapter.save_pretrained(str(folder), save_embedding_layers=False, state_dict=weights)
    elif reader is not None and reader.adapter is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.resolve() != reader.folder.resolve():
            for name in (SETTINGS, WEIGHTS):
                shutil.copyfile(reader.folder / name, folder / name)
    write_reader(
        folder,
        model=model.name,
        probe=probe(model),
        worked_examples=model.prompt.worked_examples,
        declines=declines or learned_to_decline(reader),
        presets=presets or {},
        delimiters=model.delimiters,
        adapter=adapter is not None or (reader is not None and reader.adapter is not None),
    )


def push_reader(folder: str | Path, repository: str, **settings: Any) -> str:
    """Upload the reader in a folder to the Hugging Face hub; returns the address of the commit.

    Args:
        repository: name of a repository of yours, which is created where it does not exist.
        settings: passed on to `HfApi.create_repo`, such as private=True or token.

    Raises:
        ModelError: the folder holds no reader, or the hub refuses it.
    """
    from huggingface_hub import HfApi

    folder = Path(folder)
    if not (folder / READER).is_file():
        raise ModelError(f"{folder} holds no reader: it has no {READER}; name a folder that memgpt-rag train wrote.")
    api = HfApi(token=settings.pop("token", None))
    try:
        api.create_repo(repository, exist_ok=True, **settings)
        return str(api.upload_folder(repo_id=repository, folder_path=folder, allow_patterns=[*FILES, CARD]))
    except Exception as error:  # of the network, or of the hub
        raise ModelError(
            f"The reader in {folder} cannot be uploaded to {repository!r} ({first_line(error)}); check its name and your token."
        ) from error


@torch.no_grad()
def probe(model: MemoryDecoder) -> torch.Tensor:
    """What the pretrained decoder makes of the probe passage: the hidden state of its last token."""
    ids = model.tokenizer(PROBE_PASSAGE, add_special_tokens=False, return_tensors="pt")["input_ids"]
    hidden: torch.Tensor = model.writer.base_model(ids.to(model.writer.device), use_cache=False).last_hidden_state
    return hidden[0, -1].float().cpu()
