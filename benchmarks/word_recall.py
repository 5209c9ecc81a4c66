"""How many words of real files reach a memory: our readers beside the reference tool of each format.

    python benchmarks/word_recall.py FOLDER                                   20 files of each format in the folder
    python benchmarks/word_recall.py FOLDER --before CHECKOUT --markitdown PYTHON

Recall: the share of the words that the reference tool shows which are in the documents that a job reads, each as often. Wanted: the
same without what a note of the job names as left out: tables of contents of text and PDF files, page headers and footers of PDF files.
Distinct: recall with each word counted once. Precision: the share of the words read that the tool shows. Tracked changes count as
accepted; numbers and dates of workbooks and slides are compared by value. The tools are pandoc, LibreOffice and pdftotext; nothing is
installed here. `--before` reads with another checkout of this project, `--markitdown` with that package, in an environment of its own.
Prints a table of means by format, the files that fall behind, and one JSON line.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
import unicodedata
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from statistics import mean
from typing import NamedTuple
from urllib.parse import unquote

from lxml import etree

ROOT = Path(__file__).parents[1]
_AT_ONCE = 5  # files in one run of a tool
FORMATS = ("md", "html", "pdf", "docx", "pptx", "xlsx", "odt", "epub", "rst", "txt")
# Words; each Chinese or Japanese character is a word.
_WORD = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff]|[^\W_\u2e80-\u9fff\uf900-\ufaff]+")
_CONTENT = re.compile(r"ppt/slides/slide|xl/(sharedStrings|worksheets/sheet)|content\.xml")
_TEXT = "txt:Text (encoded):UTF8"
_ODF = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_DELETION = re.compile(
    rb"<text:changed-region\b(?:(?!</text:changed-region>).)*?<text:deletion>.*?</text:changed-region>", re.S
)
_CSV = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,true,false,false,-1"
# Prints, for each file, a line of JSON: its path, the text of its documents and the notes about what was left out.
_READ = """
import json, sys
from pathlib import Path
from indexing.sources.find_files import find_files
from indexing.sources.read_documents import read_documents
from indexing.sources.read_options import ReadOptions
options = {}
if hasattr(ReadOptions, "on_note"):  # not in every checkout
    from indexing.sources.read_options import ReadLimits
    options = {"limits": ReadLimits(seconds=600), "on_note": lambda note: notes.append(note.text)}
for path in sys.argv[1:]:
    lines, notes = [], []
    try:
        for document in read_documents(find_files([Path(path)]), ReadOptions(**options)):
            lines.append(document.title.removeprefix(Path(path).stem))  # a workbook's title is its file's name and the sheet's
            header, headings = "", ()
            for block in document.blocks:
                same = 0
                while same < min(len(headings), len(block.headings)) and headings[same] == block.headings[same]:
                    same += 1
                lines += block.headings[same:]
                headings = block.headings
                if getattr(block, "header", "") and block.header != header:
                    lines.append(block.header)
                header = getattr(block, "header", "")
                lines.append(block.text)
    except Exception as error:
        notes.append(str(error))
    print(json.dumps([path, "\\n".join(lines), notes]), flush=True)
"""
_MARKITDOWN = """
import json, sys
from markitdown import MarkItDown
for path in sys.argv[1:]:
    try:
        text = MarkItDown().convert(path).text_content
    except Exception:
        text = ""
    print(json.dumps([path, text, []]), flush=True)
"""


class Figures(NamedTuple):
    """What a reader gives of one file; `wanted` is the recall of the words that no note names as left out."""

    recall: float
    wanted: float
    distinct: float
    precision: float
    path: Path


def words(text: str) -> Counter[str]:
    """Return the words of a text with their numbers."""
    return Counter(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def by_value(text: str) -> str:
    """Return text with its numbers and dates in one form: LibreOffice writes 1,254 and 2/27/2020, the reader 1254 and 2020-02-27."""
    text = re.sub(r"(?<=\d),(?=\d{3}(?:\D|$))", "", text)
    text = re.sub(r"\b(\d{1,2})/(\d{1,2})/((?:19|20)\d\d)\b", r"\3 \1 \2", text)
    text = re.sub(r"\b\d+\.\d{9,}\b", lambda number: f"{float(number[0]):.9g}", text)
    return re.sub(r"(?<![\d.])0+(?=\d)", "", text)


def run(command: list[str | Path], *, seconds: float = 300, path: Path | None = None) -> str:
    """Run a command and return what it prints, until it fails or its time is up."""
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": tempfile.gettempdir(), "LANG": "C.UTF-8"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=seconds, env=environment, cwd=tempfile.gettempdir(), check=False
        )
    except subprocess.TimeoutExpired as expired:
        return (expired.stdout or b"").decode("utf-8", "replace")
    return done.stdout.decode("utf-8", "replace")


def by_office(paths: Sequence[Path], to: str) -> dict[Path, str]:
    """Return what LibreOffice shows of files, all in one run of it; a file that it cannot read is missing."""
    suffix, shown = to.split(":")[0], dict[Path, str]()
    with tempfile.TemporaryDirectory() as folder:
        copies = {path: Path(folder) / f"{number}{path.suffix}" for number, path in enumerate(paths)}
        for path, copy in copies.items():
            if path.suffix.lower() == ".odt":
                write_accepted(path, copy)
            else:
                shutil.copyfile(path, copy)
        profile = f"-env:UserInstallation=file://{folder}/profile"
        run(
            ["soffice", profile, "--headless", "--convert-to", to, "--outdir", f"{folder}/out", *copies.values()],
            seconds=600,
        )
        for path, copy in copies.items():
            # A workbook becomes a file for each of its sheets.
            found = sorted(Path(folder, "out").glob(f"{copy.stem}.{suffix}")) or sorted(
                Path(folder, "out").glob(f"{copy.stem}-*.{suffix}")
            )
            if found:
                shown[path] = "\n".join(
                    run(["pdftotext", one, "-"])
                    if suffix == "pdf"
                    else one.read_text(encoding="utf-8-sig", errors="replace")
                    for one in found
                )
    return shown


def references(paths: Sequence[Path]) -> dict[Path, Counter[str]]:
    """Return the words that the reference tool shows of files of one format; one that it cannot read is missing."""
    suffix = paths[0].suffix.lower()[1:]
    if suffix in ("pptx", "odp"):
        shown = {path: by_value(slides_text(text)) for path, text in by_office(paths, "fodp").items()}
    elif suffix in ("xlsx", "ods"):
        shown, again = (
            {path: by_value(cells_text(text)) for path, text in by_office(paths, _CSV).items()} for _ in range(2)
        )
        # LibreOffice computes some formulas anew, forecasts by chance: what differs between two runs is no reference.
        shown = {path: text for path, text in shown.items() if again.get(path) == text}
    elif suffix == "odt":
        shown = by_office(paths, _TEXT)
    elif suffix == "txt":
        shown = {path: path.read_text(encoding="utf-8", errors="replace") for path in paths}
    elif suffix == "pdf":
        shown = {path: run(["pdftotext", path, "-"]) for path in paths}
    elif suffix == "epub":
        shown = {path: book_text(path) for path in paths}
    else:
        reader = {"md": "gfm", "rst": "rst", "html": "html", "docx": "docx"}[suffix]
        shown = {path: run(["pandoc", "-f", reader, "-t", "plain", "--wrap=none", path]) for path in paths}
    return {path: words(text) for path, text in shown.items()}


def book_text(path: Path) -> str:
    """Return what pandoc shows of the pages of a book, each by itself: of a whole book it may leave out most of them."""
    with zipfile.ZipFile(path) as book, tempfile.TemporaryDirectory() as folder:
        packages = [name for name in book.namelist() if name.endswith(".opf")]
        if not packages:
            return ""
        package = etree.fromstring(book.read(packages[0]))
        root = posixpath.dirname(packages[0])
        places = {
            one.get("id"): posixpath.normpath(posixpath.join(root, unquote(one.get("href", "")).partition("#")[0]))
            for one in package.iterfind("{*}manifest/{*}item")
            if "nav" not in one.get("properties", "").split()  # the table of contents
        }
        read = [places.get(one.get("idref")) for one in package.iterfind("{*}spine/{*}itemref")]
        pages = []
        for number, place in enumerate(dict.fromkeys(place for place in read if place)):
            pages.append(Path(folder) / f"{number}.html")
            pages[-1].write_bytes(book.read(place))
        return "\n".join(run(["pandoc", "-f", "html", "-t", "plain", "--wrap=none", page]) for page in pages)


def cells_text(table: str) -> str:
    """Return the cells of a CSV file, each on lines of its own."""
    return "\n".join(cell for row in csv.reader(io.StringIO(table)) for cell in row)


def slides_text(saved: str) -> str:
    """Return the paragraphs of slides and notes as LibreOffice has read them, without the date of today and page numbers.

    A PDF of the slides would show more, the numbers of a chart's axes, and letters set apart as words of their own.
    """
    body = etree.fromstring(saved.encode(), etree.XMLParser(huge_tree=True)).find("{*}body")
    for field in body.iter("{*}date", "{*}time", "{*}page-number", "{*}binary-data"):
        field.text = ""
    for space in body.iter("{*}line-break", "{*}tab", "{*}s"):
        space.text = " "
    outermost = [one for one in body.iter(f"{_ODF}p") if not any(True for _ in one.iterancestors(f"{_ODF}p"))]
    return "\n".join("".join(paragraph.itertext()) for paragraph in outermost)


def write_accepted(path: Path, copy: Path) -> None:
    """Copy an OpenDocument text with its tracked changes accepted, as pandoc shows those of Word: LibreOffice prints deleted text."""
    with zipfile.ZipFile(path) as given, zipfile.ZipFile(copy, "w") as made:
        for name in given.namelist():
            content = given.read(name)
            if name == "content.xml":
                content = _DELETION.sub(b"", content)
            made.writestr(name, content)


def holds_text(path: Path, characters: int) -> bool:
    """Return whether a file that LibreOffice reads has so many characters between the tags of its content."""
    if path.suffix.lower() not in (".pptx", ".xlsx", ".odt", ".odp", ".ods"):
        return True
    try:
        with zipfile.ZipFile(path) as package:
            parts = [package.read(name) for name in package.namelist() if _CONTENT.match(name)]
    except (OSError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error):  # damaged, or with a password
        return False
    return sum(len(text.strip()) for part in parts for text in re.findall(rb">([^<]+)<", part)) >= characters


def chosen(folder: Path, suffix: str, files: int, least: int) -> dict[Path, Counter[str]]:
    """Return so many files of a format, always the same ones, and the words that the reference tool shows.

    They are the first ones in the order of the digests of their bytes, so that nobody chose them. A file of a few words tells
    little, and one that the tool cannot read nothing: others take their places. Those for LibreOffice, which is slow, with hardly any characters in their
    XML are passed over before the tool runs.
    """
    digests = {
        blake2b(path.read_bytes()).digest(): path
        for path in sorted(folder.rglob(f"*.{suffix}"))
        if path.is_file() and holds_text(path, 5 * least)
    }
    left, found = deque(digests[digest] for digest in sorted(digests)), dict[Path, Counter[str]]()
    while left and len(found) < files:
        shown = references([left.popleft() for _ in range(min(_AT_ONCE, len(left)))])
        found |= {path: counted for path, counted in shown.items() if counted.total() >= least}
    return dict(list(found.items())[:files])


def read_all(
    command: Sequence[str | Path], paths: Sequence[Path], path: Path | None = None
) -> dict[Path, tuple[str, list[str]]]:
    """Return text and notes of files by a reader that prints a line of JSON for each; one that ended it is missing."""
    read, left = dict[Path, tuple[str, list[str]]](), list(paths)
    while left:
        lines = run([*command, *left], seconds=60 * len(left), path=path).splitlines()
        rows = [json.loads(line) for line in lines if line.startswith("[")]
        read |= {Path(name): (text, notes) for name, text, notes in rows}
        left = left[len(rows) + 1 :]
    return read


def wanted(path: Path, shown: Counter[str], notes: Sequence[str]) -> Counter[str]:
    """Return the words that the tool shows without those that notes name: contents, and page headers and footers of PDF files.

    Those of PDF files are found in the tool's own text: headers and footers are among the first two and the last two lines of at least three
    pages, apart from numbers; lines of a table of contents are those with a page number at their end, on the pages named.
    """
    said = " ".join(notes)
    if path.suffix.lower() == ".txt" and (named := re.search(r"table of contents .*\(lines (\d+) to (\d+)\)", said)):
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
        return words("\n".join(lines[: int(named[1]) - 1] + lines[int(named[2]) :]))
    if path.suffix.lower() != ".pdf" or not re.search("headers, footers|table of contents", said):
        return shown
    pages = [
        [line.strip() for line in page.split("\n") if line.strip()]
        for page in run(["pdftotext", path, "-"]).split("\f")
    ]
    edges = Counter(form for page in pages for form in {_form(line) for line in page[:2] + page[-2:]})
    contents = set[int]()
    for first, last in re.findall(r"table of contents on pages? (\d+)(?:–(\d+))?", said):
        contents |= set(range(int(first), int(last or first) + 1))
    kept = []
    for number, page in enumerate(pages, 1):
        for at, line in enumerate(page):
            is_edge = (at < 2 or at >= len(page) - 2) and edges[_form(line)] >= 3 and "headers, footers" in said
            if not is_edge and not (number in contents and re.search(r"(^|[\s.])[0-9ivxl]+$", line)):
                kept.append(line)
    return words("\n".join(kept))


def _form(line: str) -> str:
    """Return a line without its numbers, as pages have them."""
    return re.sub(r"\d+|^[ivxl]+$", "#", line)


def measured(path: Path, shown: Counter[str], text: str, notes: Sequence[str]) -> Figures:
    """Compare the words that the tool shows of a file with those that a reader found."""
    found = words(by_value(text) if path.suffix.lower() in (".pptx", ".odp", ".xlsx", ".ods") else text)
    left = wanted(path, shown, notes)
    shared = (shown & found).total()
    return Figures(
        shared / shown.total(),
        (left & found).total() / max(1, left.total()),
        len(shown.keys() & found.keys()) / len(shown),
        shared / max(1, found.total()),
        path,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=20, help="of each format")
    parser.add_argument("--words", type=int, default=100, help="least words of a file")
    parser.add_argument("--formats", nargs="*", default=FORMATS)
    parser.add_argument("--before", type=Path, help="checkout of this project to compare with")
    parser.add_argument("--markitdown", type=Path, help="Python that has markitdown")
    parser.add_argument("--worst", type=int, default=10, help="files to name")
    asked = parser.parse_args()
    ways: dict[str, tuple[list[str | Path], Path | None]] = {"ours": ([sys.executable, "-c", _READ], ROOT)}
    if asked.before:
        ways["before"] = ([sys.executable, "-c", _READ], asked.before)
    if asked.markitdown:
        ways["markitdown"] = ([asked.markitdown, "-c", _MARKITDOWN], None)
    figures: dict[tuple[str, str], list[Figures]] = {}
    for suffix in asked.formats:
        files = chosen(asked.folder.resolve(), suffix, asked.files, asked.words)
        for way, (command, checkout) in ways.items():
            read = read_all(command, list(files), checkout)
            figures[suffix, way] = [measured(path, shown, *read.get(path, ("", []))) for path, shown in files.items()]
    columns = ("recall", "wanted", "distinct", "precision")
    print(f"{'format':<8}{'reader':<12}{'files':>6}" + "".join(f"{column:>11}{'lowest':>8}" for column in columns))
    summary = {}
    for (suffix, way), rows in figures.items():
        values = list(zip(*rows))[:4]
        shown_figures = "".join(f"{mean(value):>11.4f}{min(value):>8.3f}" for value in values)
        print(f"{suffix:<8}{way:<12}{len(rows):>6}{shown_figures}")
        summary[f"{suffix} {way}"] = {"files": len(rows)} | {
            column: round(mean(value), 4) for column, value in zip(columns, values)
        }
    behind = sorted(
        (row for (_, way), rows in figures.items() if way == "ours" for row in rows), key=lambda row: min(row[:4])
    )
    for row in behind[: asked.worst]:
        print(*(f"{value:.3f}" for value in row[:4]), row.path.relative_to(asked.folder.resolve()))
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
