"""Folders of readers and reports, which may come from an untrusted sender: a link in one could redirect a write."""

from __future__ import annotations

import os
from pathlib import Path


def first_link(folder: Path) -> Path | None:
    """Return a link in a folder at any depth; None if there is none, or no folder. The folder itself may be a link."""
    for parent, folders, files in os.walk(folder):  # which follows no links
        for name in sorted([*folders, *files]):
            if (path := Path(parent) / name).is_symlink():
                return path
    return None
