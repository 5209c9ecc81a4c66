"""How much memory a job takes while it reads a gigabyte of mixed documents, and what its progress says meanwhile.

    python benchmarks/reading.py REAL                         1 GB (half an hour to an hour, and as much room on disk)
    python benchmarks/reading.py REAL --bytes 100000000       a tenth of it

REAL is a folder with documents that people have, the PDF files among them. Their sentences, in an order of their own in each file
so that few passages are duplicates, are written as Markdown, HTML, text, CSV, JSON Lines, mail, Word and zip files; PDF files are
copied. A build with `--dry-run` reads, cuts and compares all of it and embeds nothing. Memory is sampled every five seconds: what is
no file's, of the job and of its reading processes together. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import fcntl
import html
import json
import os
import pty
import random
import re
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
_PICTURE = 1_000_000  # bytes in a Word file, as most of them are in what people have
_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


class Sample(NamedTuple):
    """Memory in megabytes after so many seconds of a job, and its progress bar."""

    seconds: float
    job: float
    readers: float
    bar: str


def sentences(folder: Path) -> list[str]:
    """Return the sentences of the text, Markdown and HTML files in a folder."""
    found = dict[str, None]()
    for path in sorted(one for one in folder.rglob("*") if one.suffix in (".txt", ".md", ".html")):
        text = path.read_text(encoding="utf-8", errors="replace")
        if path.suffix == ".html":
            text = html.unescape(re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", text, flags=re.S))
        for sentence in re.split(r"(?<=[.!?])\s+|\n\s*\n", text):
            joined = re.sub(
                r"[\x00-\x1f\x7f-\x9f\ufffe\uffff]", "", " ".join(sentence.split())
            )  # XML holds none of these
            if 40 <= len(joined) <= 400:
                found[joined] = None
    return list(found)


def paragraphs(rng: random.Random, known: list[str], characters: int) -> Iterator[str]:
    """Yield paragraphs of random sentences, so many characters in all."""
    while characters > 0:
        paragraph = " ".join(rng.choices(known, k=rng.randint(2, 7)))
        characters -= len(paragraph) + 1
        yield paragraph


def write_markdown(path: Path, title: str, texts: list[str]) -> None:
    path.write_text(f"# {title}\n\n" + "\n\n".join(texts), encoding="utf-8")


def write_text(path: Path, title: str, texts: list[str]) -> None:
    path.write_text("\n\n".join([title, *texts]), encoding="utf-8")


def write_html(path: Path, title: str, texts: list[str]) -> None:
    body = "".join(f"<p>{html.escape(text)}</p>\n" for text in texts)
    path.write_text(f"<!doctype html><title>{title}</title><h1>{title}</h1>\n{body}", encoding="utf-8")


def write_jsonl(path: Path, title: str, texts: list[str]) -> None:
    lines = (json.dumps({"id": number, "title": title, "text": text}) for number, text in enumerate(texts))
    path.write_text("\n".join(lines), encoding="utf-8")


def write_csv(path: Path, title: str, texts: list[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "title", "text"), *((at, title, text) for at, text in enumerate(texts))])


def write_mail(path: Path, title: str, texts: list[str]) -> None:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = title, "an.author@example.org", "a.reader@example.org"
    mail.set_content("\n\n".join(texts))
    path.write_bytes(bytes(mail))


def write_word(path: Path, title: str, texts: list[str]) -> None:
    body = "".join(f"<w:p><w:r><w:t>{html.escape(text)}</w:t></w:r></w:p>" for text in [title, *texts])
    content = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" ContentType="application/'
        f'vnd.openxmlformats-package.relationships+xml"/><Override PartName="/word/document.xml" ContentType="{content}"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="r1" Type="{_OFFICE}/officeDocument" '
        'Target="word/document.xml"/></Relationships>',
        "word/document.xml": f'<w:document xmlns:w="{_WORD}"><w:body>{body}</w:body></w:document>',
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        for name, text in parts.items():
            package.writestr(name, text)
        package.writestr("word/media/image1.jpeg", random.Random(title).randbytes(_PICTURE), zipfile.ZIP_STORED)


def write_archive(path: Path, title: str, texts: list[str]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        for at in range(0, len(texts), 50):
            package.writestr(f"notes/{at}.txt", "\n\n".join([f"{title}, {at}", *texts[at : at + 50]]))


# Suffix → what writes it, characters of text in a file, and the share of all bytes; the rest are PDF files.
_MIX: dict[str, tuple[Callable[[Path, str, list[str]], None], int, float]] = {
    "md": (write_markdown, 60_000, 0.03),
    "html": (write_html, 80_000, 0.05),
    "txt": (write_text, 200_000, 0.03),
    "csv": (write_csv, 5_000_000, 0.03),
    "jsonl": (write_jsonl, 20_000_000, 0.03),
    "eml": (write_mail, 8_000, 0.02),
    "docx": (write_word, 30_000, 0.705),
    "zip": (write_archive, 1_000_000, 0.005),
}


def write_folder(folder: Path, real: Path, most: int) -> int:
    """Write a folder of mixed documents; returns the number of files.

    Formats follow each other in turn, each until its share is reached, so that the job meets every format at all times.
    """
    rng, known = random.Random(0), sentences(real)
    copied = [path.read_bytes() for path in sorted(real.rglob("*.pdf"))]
    room = {suffix: share * most for suffix, (_, _, share) in _MIX.items()}
    steps = {suffix: room[suffix] for suffix in room}
    room["pdf"] = steps["pdf"] = most - sum(room.values())
    files = 0
    while any(left > 0 for left in room.values()):
        suffix = max(room, key=lambda one: room[one] / steps[one])
        path = folder / f"{files // 1000:03}" / f"{files:06}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        if suffix == "pdf":
            path.write_bytes(copied[rng.randrange(len(copied))])
        else:
            write, characters, _ = _MIX[suffix]
            write(
                path, f"Notes {files}", list(paragraphs(rng, known, rng.randint(characters // 2, 3 * characters // 2)))
            )
        room[suffix] -= path.stat().st_size
        files += 1
    return files


def processes(item: int) -> dict[int, float]:
    """Return the memory of a process and of its children that is no file's, in megabytes."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        except OSError:  # it has ended
            continue
        if item in (int(fields["Pid"]), int(fields["PPid"])) and "RssAnon" in fields:
            found[int(fields["Pid"])] = int(fields["RssAnon"].split()[0]) / 1000
    return found


def measure(folder: Path, options: list[str]) -> tuple[list[Sample], str]:
    """Read the folder as a job does, on a terminal of its own; returns samples, and what the job printed in the end."""
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))  # a bar fills the width of its terminal
    command = [sys.executable, "-m", "indexing", "build", str(folder), "--dry-run", "--no-cache", *options]
    job = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=end, cwd=folder.parent, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    os.close(end)
    shown = [b""]

    def watch() -> None:
        with contextlib.suppress(OSError):  # when the job has ended
            while True:
                shown[0] = (shown[0] + os.read(terminal, 4096))[-2000:]

    threading.Thread(target=watch, daemon=True).start()
    printed = list[bytes]()
    output = threading.Thread(target=lambda: printed.append(job.stdout.read() if job.stdout else b""), daemon=True)
    output.start()
    began, samples = time.monotonic(), list[Sample]()
    while job.poll() is None:
        taken = processes(job.pid)
        own = taken.pop(job.pid, 0.0)
        bar = re.split(rb"[\r\n]", shown[0])[-1].decode(errors="replace")
        samples.append(Sample(time.monotonic() - began, own, sum(taken.values()), bar))
        print(*(f"{figure:.0f}" for figure in samples[-1][:3]), bar, file=sys.stderr, flush=True)
        time.sleep(5)
    output.join()
    lines = printed[0].decode(errors="replace").splitlines()
    return samples, next(
        (line for line in lines if line.startswith("Would have read")), shown[0].decode(errors="replace")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", type=Path)
    parser.add_argument("--bytes", type=int, default=10**9)
    parser.add_argument("--folder", type=Path, help="keep the documents here, and take those that are there")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (asked.folder or Path(temporary) / "documents").resolve()
        if not folder.exists():
            folder.mkdir(parents=True)
            write_folder(folder, asked.real, asked.bytes)
        files = [path for path in folder.rglob("*") if path.is_file()]
        samples, said = measure(folder, ["--memory", str(Path(temporary) / "memory")])
    print(
        f"{len(files):,} files, {sum(path.stat().st_size for path in files) / 1e9 if asked.folder else asked.bytes / 1e9:.2f} GB; {said}"
    )
    print(f"{'share':>6}{'s':>8}{'job, MB':>10}{'reading, MB':>13}  progress")
    rows = [samples[min(len(samples) - 1, len(samples) * share // 100)] for share in (2, 10, 25, 50, 75, 90, 99)]
    for share, row in zip((2, 10, 25, 50, 75, 90, 99), rows, strict=True):
        print(f"{share:>5}%{row.seconds:>8.0f}{row.job:>10.0f}{row.readers:>13.0f}  {row.bar}")
    peaks = {"job": max(one.job for one in samples), "readers": max(one.readers for one in samples)}
    print(json.dumps({"seconds": samples[-1].seconds, "peak MB": peaks, "samples": samples}))


if __name__ == "__main__":
    main()
