"""Text that has its owner elsewhere: the README is the site's home page, and the format's module specifies the format."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
# The README's links are those of the repository; here they become those of the site.
_LINKS = {
    "(docs/": "(",
    "(CONTRIBUTING.md)": "(development/contributing.md)",
    "(CHANGELOG.md)": "(development/changelog.md)",
    "(SECURITY.md)": "(development/security.md)",
    "[CITATION.cff](CITATION.cff)": "`CITATION.cff`",
    "[Apache-2.0](LICENSE)": "Apache-2.0",
}
_FORMAT = "{{ the docstring of memgpt_rag/memory/storage/layout.py }}"


def on_page_markdown(markdown: str, page: Any, **settings: Any) -> str:
    """Fill in the home page and the specification of the format; other pages stay as they are."""
    if page.file.src_uri == "index.md":
        markdown = _read("README.md")
        for here, there in _LINKS.items():
            markdown = markdown.replace(here, there)
    if page.file.src_uri == "concepts/memory-format.md":
        specified = ast.get_docstring(ast.parse(_read("memgpt_rag/memory/storage/layout.py")))
        assert specified is not None and _FORMAT in markdown
        markdown = markdown.replace(_FORMAT, specified)
    return markdown


def _read(name: str) -> str:
    return (_ROOT / name).read_text(encoding="utf-8")
