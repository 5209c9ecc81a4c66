"""Decides who may name a model: a memory's manifest for models that come as packages, only the user for all others.

A memory may come from an untrusted sender. If its manifest could name any folder or hub model, the sender could choose what is
downloaded and loaded here, even a folder inside the memory itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from memgpt_rag.errors import ModelError


def require_named(
    in_memory: str,
    by_user: str | None,
    *,
    bundled: Sequence[str],
    what: str,
    option: str,
    memories: Sequence[Path] = (),
) -> str:
    """Return the name of the model to load.

    Args:
        in_memory: name in the memory's manifest.
        by_user: name given by the user; None if there is none.
        bundled: names of the models of this kind that come as packages.
        what: kind of model, for the error.
        option: option with which the user names a model, for the error.
        memories: folders of memories; nothing is loaded from inside of them.

    Raises:
        ModelError: only the memory names the model, and it does not come as a package; or it is inside a memory.
    """
    if by_user is None:
        if in_memory in bundled:
            return in_memory
        raise ModelError(
            f"This memory says that its {what} is {in_memory!r}, which does not come as a package ({', '.join(bundled)}), and "
            f"a memory alone cannot choose what is loaded here; if you trust that model, name it: {option} {in_memory!r}"
        )
    for memory in memories:
        if Path(by_user).exists() and memory.resolve() in (Path(by_user).resolve(), *Path(by_user).resolve().parents):
            raise ModelError(
                f"The {what} {by_user!r} lies in the memory {memory}, and no model is loaded from inside a memory; name one elsewhere."
            )
    return by_user
