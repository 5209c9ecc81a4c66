"""Tells titles that an author gave from those that a program put into a file."""

from __future__ import annotations

import re

# What a printer driver puts before the name of the file.
_PROGRAM = re.compile(
    r"(microsoft (office )?(word|excel|powerpoint|outlook)|powerpoint|word|excel)\s*[-–:]\s+", re.IGNORECASE
)
_FILE_NAME = re.compile(
    r"(file:|[a-z]:[\\/]|\\\\|/).*|.*\.(docx?|dotx?|docm|odt|rtf|txt|wpd|pages|pptx?|ppsx?|potx?|odp|key|xlsx?|xlsm|xls|ods|csv|"
    r"numbers|pdf|e?ps|dvi|tex|indd|qxd|qxp|pmd|p65|fm|cdr|ai|psd|pub|vsdx?|html?|aspx|php|tiff?|jpe?g|png|bmp|gif|dwg|mdi|prn|tmp|md)",
    re.IGNORECASE,
)
_EMPTY = "untitled|unnamed|unknown|none|null|no title|ohne titel|unbenannt|sans titre|sin título|senza titolo|未命名|无标题|無標題|無題|名称未設定"
_KIND = (
    "title|titel|titre|título|titolo|标题|標題|document|dokument|documento|doc|file|datei|presentation|präsentation|"
    "présentation|presentación|presentazione|workbook|book|mappe|arbeitsmappe|classeur|libro|sheet|tabelle|slide|folie|"
    "diapositive|page|seite|layout|print|scan(ned)?( document| image)?|img|image|template|vorlage|文档|文件|文書|演示文稿|簡報|"
    "幻灯片|工作簿|工作表|プレゼンテーション|présentation powerpoint|presentación de powerpoint|ppt演示文稿"
)
_TEMPLATE = re.compile(
    rf"({_EMPTY}|microsoft (office )?(word|excel|powerpoint)|.*-vorlage"
    rf"|((new|neue?s?|slide|{_EMPTY}|(microsoft )?(office )?(word|excel|powerpoint|power point))[- ]*)?({_KIND})s?"
    r"|(img|image|scan|dsc|doc|scn|kmbt|sharp)[-_ ]?\d[\d\W_]*)"
    r"[\s_-]*\(?\d{0,3}\)?",
    re.IGNORECASE,
)


def own_title(title: str) -> str:
    """Return a document's title; empty if it is a file's name, a template's title or a program's placeholder."""
    title = " ".join(title.replace("\0", " ").split())
    title = title[match.end() :] if (match := _PROGRAM.match(title)) else title
    alone = title.strip(" .-_[]()<>\"'")
    if not any(character.isalpha() for character in alone) or _FILE_NAME.fullmatch(title) or _TEMPLATE.fullmatch(alone):
        return ""
    return title
