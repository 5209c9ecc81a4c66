"""How many words of real files reach a memory: our readers beside the reference tool of each format.

    python benchmarks/word_recall.py FOLDER                                   20 files of each format in the folder
    python benchmarks/word_recall.py FOLDER --before CHECKOUT --markitdown PYTHON

Recall: the share of the words that the reference tool shows which are in the documents that a job reads, each as often; distinct: the
same, each word counted once, since headers and footers of pages and tables of contents are left out on purpose, with a note.
Precision: the share of the words read that the tool shows. The tools are pandoc, LibreOffice and pdftotext; nothing is installed here. `--before` reads
with another checkout of this project, `--markitdown` with that package, in an environment of its own.
Prints a table of medians and means by format, the files that fall behind, and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from statistics import mean
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
FORMATS = ("md", "html", "pdf", "docx", "pptx", "xlsx", "odt", "epub", "rst", "txt")
# Words; each Chinese or Japanese character is a word.
_WORD = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff]|[^\W_\u2e80-\u9fff\uf900-\ufaff]+")
_CSV = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false,false,false,-1"
_READ = """
import sys
from pathlib import Path
from indexing.sources.find_files import find_files
from indexing.sources.read_documents import read_documents
for document in read_documents(find_files([Path(sys.argv[1])])):
    print(document.title)
    seen, header = set(), None
    for block in document.blocks:
        for heading in block.headings:
            if heading not in seen:
                seen.add(heading)
                print(heading)
        if getattr(block, "header", "") and block.header != header:
            header = block.header
            print(header)
        print(block.text)
"""
_MARKITDOWN = "import sys\nfrom markitdown import MarkItDown\nprint(MarkItDown().convert(sys.argv[1]).text_content)"


class Figures(NamedTuple):
    """What a reader gives of one file."""

    recall: float
    distinct: float
    precision: float
    path: Path


def words(text: str) -> Counter[str]:
    """Return the words of a text with their numbers."""
    return Counter(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def run(command: list[str | Path], *, seconds: float = 300, path: Path | None = None) -> str:
    """Run a command and return what it prints; nothing if it fails."""
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": tempfile.gettempdir(), "LANG": "C.UTF-8"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=seconds, env=environment, cwd=tempfile.gettempdir(), check=False
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


def by_office(path: Path, to: str, suffix: str) -> str:
    """Return what LibreOffice shows of a file."""
    with tempfile.TemporaryDirectory() as folder:
        run(["soffice", "--headless", "--convert-to", to, "--outdir", folder, path])
        found = sorted(Path(folder).glob(f"*.{suffix}"))
        if suffix == "pdf":
            return "\n".join(run(["pdftotext", one, "-"]) for one in found)
        return "\n".join(one.read_text(encoding="utf-8-sig", errors="replace") for one in found)


def reference(path: Path) -> str:
    """Return what the reference tool of a file's format shows."""
    suffix = path.suffix.lower()[1:]
    if suffix == "txt":
        return path.read_text(encoding="utf-8", errors="replace")
    if suffix == "pdf":
        return run(["pdftotext", path, "-"])
    if suffix in ("pptx", "odp"):
        return by_office(path, "pdf", "pdf")
    if suffix in ("xlsx", "ods"):
        return by_office(path, _CSV, "csv")
    if suffix == "odt":
        return by_office(path, "txt:Text (encoded):UTF8", "txt")
    reader = {"md": "gfm", "rst": "rst", "html": "html", "docx": "docx", "epub": "epub"}[suffix]
    return run(["pandoc", "-f", reader, "-t", "plain", "--wrap=none", path])


def chosen(folder: Path, suffix: str, files: int) -> Iterator[tuple[Path, Counter[str]]]:
    """Yield so many files of a format, always the same ones, and the words that the reference tool shows.

    A file of a few words tells little, and one that the tool cannot read nothing: others take their places.
    """
    paths = {
        blake2b(path.read_bytes()).digest(): path for path in sorted(folder.rglob(f"*.{suffix}")) if path.is_file()
    }
    found = 0
    for digest in sorted(paths):
        if found == files:
            return
        shown = words(reference(paths[digest]))
        if shown.total() >= 20:
            found += 1
            yield paths[digest], shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=20, help="of each format")
    parser.add_argument("--formats", nargs="*", default=FORMATS)
    parser.add_argument("--before", type=Path, help="checkout of this project to compare with")
    parser.add_argument("--markitdown", type=Path, help="Python that has markitdown")
    parser.add_argument("--worst", type=int, default=10, help="files to name")
    asked = parser.parse_args()
    ways = {"ours": lambda path: run([sys.executable, "-c", _READ, path], path=ROOT)}
    if asked.before:
        ways["before"] = lambda path: run([sys.executable, "-c", _READ, path], path=asked.before)
    if asked.markitdown:
        ways["markitdown"] = lambda path: run([asked.markitdown, "-c", _MARKITDOWN, path])
    figures: dict[tuple[str, str], list[Figures]] = {}
    for suffix in asked.formats:
        for path, shown in chosen(asked.folder, suffix, asked.files):
            for way, read in ways.items():
                found = words(read(path))
                shared = (shown & found).total()
                distinct = len(shown.keys() & found.keys()) / len(shown)
                figures.setdefault((suffix, way), []).append(
                    Figures(shared / shown.total(), distinct, shared / max(1, found.total()), path)
                )
    print(
        f"{'format':<8}{'reader':<12}{'files':>6}{'recall':>9}{'lowest':>8}{'distinct':>10}{'lowest':>8}{'precision':>11}{'lowest':>8}"
    )
    summary = {}
    for (suffix, way), rows in figures.items():
        columns = list(zip(*rows))[:3]
        means = [mean(column) for column in columns]
        shown_figures = "".join(
            f"{average:>{width}.4f}{min(column):>8.3f}" for average, column, width in zip(means, columns, (9, 10, 11))
        )
        print(f"{suffix:<8}{way:<12}{len(rows):>6}{shown_figures}")
        summary[f"{suffix} {way}"] = dict(
            zip(("files", "recall", "distinct", "precision"), (len(rows), *(round(average, 4) for average in means)))
        )
    behind = sorted(
        (row for (_, way), rows in figures.items() if way == "ours" for row in rows), key=lambda row: min(row[:3])
    )
    for row in behind[: asked.worst]:
        print(f"{row.recall:.3f} {row.distinct:.3f} {row.precision:.3f}  {row.path.relative_to(asked.folder)}")
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
