"""Where memgpt-index begins, and `python -m indexing`."""

from __future__ import annotations

from memgpt_rag.__main__ import start


def main() -> None:
    """Run memgpt-index."""
    start("indexing.cli.main")


if __name__ == "__main__":
    main()
