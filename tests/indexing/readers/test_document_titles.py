"""Titles in the properties of files: those of authors are kept, those of programs are not."""

from __future__ import annotations

import pytest

from indexing.sources.readers.document_titles import own_title


@pytest.mark.parametrize(
    "title",
    [
        "untitled", "Microsoft Word - Dokument1.docx", "Microsoft Word - timetable_final_v3.doc", "report.pdf", "Document1",
        "PowerPoint Presentation", "PowerPoint-Präsentation", "C:\\Users\\me\\plan", "/home/me/plan", "Scan0001", "scan_20240501",
        "Layout 1", "Folie 1", "Word Document", "Untitled presentation", "New slides", "Microsoft PowerPoint", "Brief-Vorlage", "文档1", "无标题", "12-04-2024", "___", "<untitled>", "Book1.xlsx", "", "IMG_2041",
    ],
)  # fmt: skip
def test_what_programs_write_is_no_title(title):
    assert own_title(title) == ""


@pytest.mark.parametrize(
    "title",
    [
        "Ferry timetable",
        "Report on the harbour",
        "Document management in 2024",
        "图书馆规则",
        "Presentation skills",
        "1984: a novel",
    ],
)
def test_titles_of_authors_are_kept(title):
    assert own_title(title) == title


def test_a_title_without_the_name_of_its_program():
    assert own_title("Microsoft Word - Rules of the harbour") == "Rules of the harbour"
