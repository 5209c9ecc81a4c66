"""Folders that files are written into and that others may have sent: readers, reports. A link in one would lead a write elsewhere."""

from __future__ import annotations

import os
from pathlib import Path


def first_link(folder: Path) -> Path | None:
    """Return a link that is in a folder, at any depth; None where there is none, or no folder. The folder may itself be one."""
    for parent, folders, files in os.walk(folder):  # which follows no links
        for name in sorted([*folders, *files]):
            if (path := Path(parent) / name).is_symlink():
                return path
    return None
