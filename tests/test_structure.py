"""The promises that hold the house together: who may import whom, what the format's one owner owns, what is never executed."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import symtable
import sys
from collections.abc import Iterator
from pathlib import Path

import house
import pytest
from conftest import ROOT

from memgpt_rag.memory.storage import layout

SOURCES = sorted([*ROOT.glob("memgpt_rag/**/*.py"), *ROOT.glob("indexing/**/*.py")])


MODULES = house.sources(ROOT)
OWN_IMPORTS = house.own_imports(MODULES)


def roots(path: Path) -> set[str]:
    """Packages that a file imports."""
    return {name.split(".")[0] for name in house.imports(path, MODULES)}


# Each wing, with the wings that it may import. What is not named here may be imported by none.
GROUND = {"errors", "passage", "choices", "limits", "plain_text"}
IO = GROUND | {"io"}
HUB = IO | {"hub"}
ENCODERS = HUB | {"fingerprint", "encoders"}
MEMORY = IO | {"fingerprint", "state_codes", "memory"}
MODEL = HUB | {"fingerprint", "state_codes", "model"}
RETRIEVAL = ENCODERS | MEMORY | {"retrieval"}
ANSWERING = RETRIEVAL | MODEL | {"answering"}
RAG = ANSWERING | {"rag"}
LIBRARY = ENCODERS | MEMORY | MODEL
ARROWS = {
    **{name: {"errors"} for name in GROUND},
    "fingerprint": {"errors"},
    "state_codes": {"choices", "fingerprint"},
    "io": IO,
    "hub": HUB,
    "encoders": ENCODERS,
    "memory": MEMORY,
    "model": MODEL,
    "retrieval": RETRIEVAL,
    "answering": ANSWERING,
    "rag": RAG,
    "training": RAG | {"training"},
    "evaluation": RAG | {"evaluation"},
    "tasks": RAG | {"evaluation", "tasks"},
    "serving": RAG | {"tasks", "serving"},
    "agents": RAG | {"serving", "agents"},
    "integrations": RAG | {"evaluation", "integrations"},
    "cli": RAG | {"training", "evaluation", "tasks", "serving", "agents", "integrations", "cli"},
    "__main__": {"cli"},
    "indexing.job_log": IO,
    "indexing.seen": IO,
    "indexing.sources": IO | {"indexing.sources", "indexing.seen", "indexing.job_log"},
    "indexing.passages": LIBRARY | {"indexing.passages", "indexing.sources", "indexing.seen"},
    "indexing.engines": LIBRARY | {"indexing.engines", "indexing.passages", "indexing.sources"},
}
ARROWS["indexing.imports"] = MEMORY | {"indexing.imports", "indexing.sources", "indexing.seen"}
ARROWS["indexing.jobs"] = ARROWS["indexing.engines"] | {"indexing.jobs", "indexing.imports", "indexing.job_log"}
ARROWS["indexing.planning"] = ARROWS["indexing.jobs"] | {"indexing.planning"}
ARROWS["indexing.cli"] = ARROWS["indexing.planning"] | {"indexing.cli"}
ARROWS["indexing.__main__"] = {"__main__", "indexing.cli"}


def wing(module: str) -> str:
    package, *rest = module.split(".")
    name = rest[0] if rest else ""
    return name if package == "memgpt_rag" else f"{package}.{name}" if name else package


def test_no_wing_imports_one_above_it():
    used = set()
    for module, imported in OWN_IMPORTS.items():
        if "." in module:
            used.add(wing(module))
            for name in imported:
                assert wing(name) in ARROWS[wing(module)], f"{module} imports {name}"
    assert used == set(ARROWS)


@pytest.mark.parametrize(("inner", "allowed"), [("storage", {"storage"}), ("dense", {"storage", "dense"}),
                                                ("lexical", {"storage", "lexical"}), ("caches", {"storage", "caches"})])  # fmt: skip
def test_the_parts_of_the_memory_stand_on_its_storage(inner, allowed):
    for module, imported in OWN_IMPORTS.items():
        if module.startswith(f"memgpt_rag.memory.{inner}."):
            used = {name.split(".")[2] for name in imported if name.startswith("memgpt_rag.memory")}
            assert used <= allowed, module


# The most that each figure may be; `python tests/house.py` prints what they are.
LIMITS = {
    "files at the top of memgpt_rag": 12,
    "circles of imports": 0,
    "longest function, lines": 60,
    "most parameters, no command": 8,
    "copies of a closed set": 0,
    'definitions of "holds the answer"': 1,
    "largest file, lines": 430,
}


def test_the_house_keeps_its_measure():
    figures = house.measure(ROOT)
    for name, most in LIMITS.items():
        figure, where = figures[name]
        assert figure <= most, f"{name}: {figure}, {where}"
    assert figures['definitions of "holds the answer"'][0] == 1


def test_the_measure_sees_what_it_is_to_see(tmp_path):
    """A house of two rooms that look into each other through a function."""
    for package in house.PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "memgpt_rag" / "one.py").write_text(
        "from memgpt_rag import two\nKINDS = ['torch', 'openvino', 'onnx']\n\n\n"
        "def contains(text, answer):\n    return answer in text\n"
    )
    (tmp_path / "memgpt_rag" / "two.py").write_text(
        "def later(self, a, b, c):\n    import memgpt_rag.one\n    return 1\n"
    )
    figures = {name: figure for name, (figure, _) in house.measure(tmp_path).items()}
    assert figures == {
        "files at the top of memgpt_rag": 3,
        "circles of imports": 1,
        "longest function, lines": 3,
        "most parameters, no command": 3,
        "copies of a closed set": 1,
        'definitions of "holds the answer"': 1,
        "largest file, lines": 6,
    }


def test_only_one_file_imports_faiss():
    assert [path.name for path in SOURCES if "faiss" in roots(path)] == ["faiss_index.py"]


def test_the_memory_never_imports_torch():
    for path in ROOT.glob("memgpt_rag/memory/**/*.py"):
        assert not {"torch", "transformers", "sentence_transformers"} & roots(path), path
    code = "import sys, memgpt_rag.memory\nassert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_only_one_file_knows_where_the_cache_folder_is():
    assert [path.name for path in SOURCES if "platformdirs" in roots(path)] == ["cache_folder.py"]


def test_file_names_of_the_format_occur_in_its_module_only():
    for path in SOURCES:
        if path != Path(layout.__file__):
            text = path.read_text(encoding="utf-8")
            for name in (layout.MANIFEST, layout.KEYS, layout.VALUES):
                assert name not in text, f"{name} in {path}"


def test_nothing_is_pickled_and_nothing_read_is_executed():
    for path in SOURCES:
        assert not {"pickle", "dill", "joblib", "shelve", "marshal"} & roots(path), path
        text = path.read_text(encoding="utf-8")
        for call in ("torch.load", "allow_pickle", "weights_only=False", "eval(", "exec("):
            # As a word of its own: retrieval( is no eval(.
            assert not re.search(rf"(?<!\w){re.escape(call)}", text.replace(".eval()", "")), f"{call} in {path}"


def loads(path: Path) -> Iterator[tuple[ast.Call, str]]:
    """Calls that load a model, a tokenizer or a configuration of others, with what is called."""
    for node in house.nodes(path):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        # Which load by such calls themselves; a pipeline that is registered loads nothing yet.
        own = called.startswith(("MemoryDecoder.", "MemGPT.")) or called.endswith("register_pipeline")
        from_modules = any(keyword.arg == "modules" for keyword in node.keywords)
        kinds = ("SentenceTransformer", "CrossEncoder", "SparseEncoder", "MultiVectorEncoder", "pipeline")
        whole = called.endswith(kinds)
        if not own and ((whole and not from_modules) or called.endswith((".from_pretrained", ".from_config"))):
            yield node, called


def test_no_model_of_others_is_loaded_without_saying_that_its_code_does_not_run():
    found = set()
    for path in (*SOURCES, *ROOT.glob("benchmarks/*.py"), *ROOT.glob("examples/**/*.py")):
        for call, called in loads(path):
            said = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert said.get("trust_remote_code") == "False", f"{called} in {path}, line {call.lineno}"
            found.add(called)
    assert {
        "SentenceTransformer", "CrossEncoder", "MultiVectorEncoder", "AutoTokenizer.from_pretrained", "AutoModelForCausalLM.from_pretrained",
    } <= found  # fmt: skip


def test_importing_does_nothing():
    code = (
        "import sys, memgpt_rag, indexing\nassert not {'torch', 'transformers', 'faiss', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_what_tests_and_benchmarks_import_is_there():
    """Also inside functions, which run with `--slow` or by hand only."""
    checked = 0
    for path in sorted([*ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/**/*.py")]):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ImportFrom) and node.module and (home := module_file(node.module)) is not None:
                missing = {one.name for one in node.names} - top_names(home)
                missing = {name for name in missing if module_file(f"{node.module}.{name}") is None}
                assert not missing, f"{path}, line {node.lineno}: {node.module} has no {missing}"
                checked += len(node.names)
    assert checked > 1000


@functools.cache
def module_file(module: str) -> Path | None:
    """File of a module of this project, or of one that tests import by its name alone."""
    own = module.split(".")[0] in ("memgpt_rag", "indexing", "benchmarks")
    place = (ROOT if own else ROOT / "tests").joinpath(*module.split("."))
    return next((path for path in (place / "__init__.py", place.with_suffix(".py")) if path.exists()), None)


@functools.cache
def top_names(path: Path) -> set[str]:
    """Names that a module defines or imports."""
    return {name.get_name() for name in symtable.symtable(path.read_text(), str(path), "exec").get_symbols()}
