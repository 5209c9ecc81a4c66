"""A few of the files that `tests/fuzz_readers.py` makes, and the seeds that it starts from."""

from __future__ import annotations

from random import Random

import fuzz_readers
import pytest

from indexing.sources.document import Document
from indexing.sources.formats import FORMATS, read_path
from indexing.sources.read_options import ReadOptions

_FILES = 6


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "image"])
def test_seeds_are_read_and_what_becomes_of_them_harms_nothing(name, tmp_path):
    seeds = fuzz_readers.seeds(name)
    assert seeds
    for seed in seeds:
        items = list(read_path(seed, seed.name, ReadOptions(limits=None)))
        assert any(isinstance(item, Document) and item.blocks for item in items), seed.name
    contents = [seed.read_bytes() for seed in seeds]
    for number in range(_FILES):
        random = Random(f"{name} {number}")
        path = tmp_path / f"{number}{''.join(seeds[0].suffixes)}"
        path.write_bytes(fuzz_readers.mutate(random.choice(contents), contents, random))
        assert fuzz_readers.read(path) in ("read", "refused")
