"""The promises that hold the house together: who may import whom, what the format's one owner owns, what is never executed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

from memgpt_rag.memory.storage import layout

SOURCES = sorted([*ROOT.glob("memgpt_rag/**/*.py"), *ROOT.glob("indexing/**/*.py")])


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}


def imports(path: Path) -> set[str]:
    """Every module that a file imports anywhere, inside functions too; those for type checking only are left out."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = names & set(MODULES)
            found.update(modules)
            if len(modules) < len(names):
                found.add(node.module)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


# Each wing, with the wings that it may import. What is not named here may be imported by none.
GROUND = {"errors", "passage", "choices", "limits"}
IO = GROUND | {"io"}
HUB = IO | {"hub"}
ENCODERS = HUB | {"fingerprint", "encoders"}
MEMORY = IO | {"fingerprint", "memory"}
MODEL = HUB | {"fingerprint", "model"}
RETRIEVAL = ENCODERS | MEMORY | {"retrieval"}
ANSWERING = RETRIEVAL | MODEL | {"answering"}
RAG = ANSWERING | {"rag"}
LIBRARY = ENCODERS | MEMORY | MODEL
ARROWS = {
    **{name: {"errors"} for name in GROUND},
    "fingerprint": {"errors"},
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
    "cli": RAG | {"training", "evaluation", "cli"},
    "__main__": {"cli"},
    "indexing.job_log": IO,
    "indexing.seen": IO,
    "indexing.sources": IO | {"indexing.sources", "indexing.seen", "indexing.job_log"},
    "indexing.passages": LIBRARY | {"indexing.passages", "indexing.sources", "indexing.seen"},
    "indexing.engines": LIBRARY | {"indexing.engines", "indexing.passages", "indexing.sources"},
}
ARROWS["indexing.jobs"] = ARROWS["indexing.engines"] | {"indexing.jobs", "indexing.job_log"}
ARROWS["indexing.planning"] = ARROWS["indexing.jobs"] | {"indexing.planning"}
ARROWS["indexing.cli"] = ARROWS["indexing.planning"] | {"indexing.cli"}
ARROWS["indexing.__main__"] = {"__main__", "indexing.cli"}


def wing(module: str) -> str:
    package, *rest = module.split(".")
    name = rest[0] if rest else ""
    return name if package == "memgpt_rag" else f"{package}.{name}" if name else package


def own_imports(path: Path) -> set[str]:
    return {name for name in imports(path) if name in MODULES and name != module_name(path)}


def test_no_wing_imports_one_above_it():
    used = set()
    for module, path in MODULES.items():
        if "." in module:
            used.add(wing(module))
            for imported in own_imports(path):
                allowed = ARROWS[wing(module)]
                assert wing(imported) in allowed, f"{path} imports {imported}"
    assert used == set(ARROWS)


@pytest.mark.parametrize(("inner", "allowed"), [("storage", {"storage"}), ("dense", {"storage", "dense"}),
                                                ("lexical", {"storage", "lexical"}), ("caches", {"storage", "caches"})])  # fmt: skip
def test_the_parts_of_the_memory_stand_on_its_storage(inner, allowed):
    for path in ROOT.glob(f"memgpt_rag/memory/{inner}/*.py"):
        of_memory = {name for name in own_imports(path) if name.startswith("memgpt_rag.memory")}
        assert {name.split(".")[2] for name in of_memory} <= allowed, path


def test_no_module_imports_itself_in_a_circle():
    left = {module: own_imports(path) for module, path in MODULES.items()}
    while free := [module for module, imported in left.items() if not imported & set(left)]:
        for module in free:
            del left[module]
    assert not left, f"In circles, or on top of one: {sorted(left)}"


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
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        own = called.startswith(("MemoryDecoder.", "MemGPT."))  # which load by such calls themselves
        from_modules = any(keyword.arg == "modules" for keyword in node.keywords)
        if (
            called.endswith(("SentenceTransformer", "CrossEncoder", "SparseEncoder", "pipeline")) and not from_modules
        ) or (called.endswith((".from_pretrained", ".from_config")) and not own):
            yield node, called


def test_no_model_of_others_is_loaded_without_saying_that_its_code_does_not_run():
    found = set()
    for path in (*SOURCES, *ROOT.glob("benchmarks/*.py"), *ROOT.glob("examples/**/*.py")):
        for call, called in loads(path):
            said = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert said.get("trust_remote_code") == "False", f"{called} in {path}, line {call.lineno}"
            found.add(called)
    assert {
        "SentenceTransformer", "CrossEncoder", "AutoTokenizer.from_pretrained", "AutoModelForCausalLM.from_pretrained",
    } <= found  # fmt: skip


def test_importing_does_nothing():
    code = (
        "import sys, memgpt_rag, indexing\nassert not {'torch', 'transformers', 'faiss', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize(
    "command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]], ids=" ".join
)
def test_the_code_is_in_order(command):
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
