"""The README as the site's home page: its links, which are those of the repository, become those of the site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
_PAGES = {
    "(docs/": "(",
    "(CONTRIBUTING.md)": "(development/contributing.md)",
    "(CHANGELOG.md)": "(development/changelog.md)",
    "(SECURITY.md)": "(development/security.md)",
    "[CITATION.cff](CITATION.cff)": "`CITATION.cff`",
    "[Apache-2.0](LICENSE)": "Apache-2.0",
}


def on_page_markdown(markdown: str, page: Any, **settings: Any) -> str:
    """Give the home page the README's text; other pages stay as they are."""
    if page.file.src_uri != "index.md":
        return markdown
    text = (_ROOT / "README.md").read_text(encoding="utf-8")
    for here, there in _PAGES.items():
        text = text.replace(here, there)
    return text
