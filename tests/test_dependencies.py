"""The releases that pyproject.toml admits are those that the tests run with, from the lowest to the pinned ones."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements() -> Iterator[Requirement]:
    """Of the package and of every extra."""
    for line in [
        *PROJECT["dependencies"],
        *(one for extra in PROJECT["optional-dependencies"].values() for one in extra),
    ]:
        yield Requirement(line)


def lowest(requirement: Requirement) -> Version:
    """Raises ValueError: it has no lower bound, or several."""
    (bound,) = (part.version for part in requirement.specifier if part.operator in (">=", "=="))
    return Version(bound)


def pins(name: str) -> dict[str, Version]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(package): Version(release) for package, release in pairs}


def test_the_lowest_releases_admitted_are_those_tested():
    tested = pins("constraints-lowest.txt")
    for requirement in requirements():
        assert tested[canonicalize_name(requirement.name)] == lowest(requirement), requirement


def test_the_pinned_releases_are_admitted():
    pinned = pins("constraints.txt")
    for requirement in requirements():
        assert pinned[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_a_package_has_one_bound_whatever_needs_it():
    bounds: dict[str, object] = {}
    for requirement in requirements():
        assert bounds.setdefault(requirement.name, requirement.specifier) == requirement.specifier, requirement
