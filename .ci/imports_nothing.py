"""Checks that importing the library imports no package of an extra, all of which are installed."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import sys


def main(extra: str) -> None:
    """Raises SystemExit: a package of the extra is unknown or not installed, or was imported."""
    asked = [
        one for one in importlib.metadata.requires("memgpt_rag") or [] if re.search(rf"extra == ['\"]{extra}['\"]", one)
    ]
    if not asked:
        sys.exit(f"{extra} is no extra of the installed package; install it again.")
    core = {_package(one) for one in importlib.metadata.requires("memgpt_rag") or [] if "extra ==" not in one}
    names = {_package(one) for one in asked} - core
    for name in names:
        importlib.metadata.version(name)  # raises where it is not installed
    homes = importlib.metadata.packages_distributions()
    modules = {module for module, packages in homes.items() if names & {_normal(package) for package in packages}}
    for library in ("indexing", "memgpt_rag", "memgpt_rag.integrations"):
        importlib.import_module(library)
    if imported := sorted(modules & set(sys.modules)):
        sys.exit(f"{extra}: importing the library imports {', '.join(imported)}.")
    sys.stdout.write(f"{extra}: {', '.join(sorted(names)) or 'nothing'} installed, and not imported.\n")


def _package(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None
    return _normal(found[0])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main(sys.argv[1])
