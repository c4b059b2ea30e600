"""The nodes that people meet first speak other languages: names, tooltips and help pages, complete."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from psld.devkit import ROOT
from psld.nodes import NODES

FIRST = {f"PSLD_{name}" for name in (
    "RestorePhoto", "LoadLDM", "KSampler", "MeasurementFromImage", "FitToModel", "UndoFit", "InpaintMask",
    "SuperResolution", "GaussianBlur", "FindLines", "Compare", "DataConsistency",
)}  # fmt: skip
SCHEMAS = {schema.node_id: schema for schema in (node.GET_SCHEMA() for node in NODES) if schema.node_id in FIRST}
LANGUAGES = ("zh", "ja", "fr")
NAMES = {
    language: json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
    for language in LANGUAGES
}
PICTURE = re.compile(r"!\[(.*?)\]\((.+?)\)")
BREAKABLE = re.compile(r" [:;?!»]|« |'")
"""What French never has: a plain space where a line must not break, a typewriter's apostrophe."""
PAGES = ROOT / "web" / "docs"
SYNTAX = re.compile(r"[|@{}]")
"""What the frontend's translator reads as syntax: of a name with a bar only the first part is shown."""


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_name_and_tooltip_is_translated(language):
    translated = NAMES[language]
    assert translated.keys() == FIRST == SCHEMAS.keys()
    for name, schema in SCHEMAS.items():
        node = translated[name]
        assert node["display_name"] and node["description"] != schema.description
        assert node["inputs"].keys() == {known.id for known in schema.inputs}
        assert node["outputs"].keys() == {str(i) for i in range(len(schema.outputs))}
        for known in schema.inputs:
            words = node["inputs"][known.id]
            assert words["name"] and bool(words.get("tooltip")) == bool(known.tooltip), (name, known.id)
            assert not known.tooltip or words["tooltip"] != known.tooltip, (name, known.id)
            explained = [one for one in getattr(known, "options", None) or [] if f"{one}:" in known.tooltip]
            assert [one for one in explained if one not in words["tooltip"]] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_holds_what_the_frontend_reads_as_syntax(language):
    files = (ROOT / "locales" / language).iterdir()
    assert [text for file in files for text in texts(json.loads(read(file))) if SYNTAX.search(text)] == []


@pytest.mark.parametrize("name", sorted(FIRST))
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_is_translated_with_its_pictures_and_tables(language, name):
    page, original = read(PAGES / name / f"{language}.md"), read(PAGES / f"{name}.md")
    title = NAMES[language][name]["display_name"]
    assert page.startswith(f"# {title}\n")
    assert PICTURE.findall(page) == [(title, file) for _, file in PICTURE.findall(original)]
    for start in ("| ", "- ", "#"):
        assert lines(page, start) == lines(original, start), start
    assert page != original
    english = {node.display_name for node in SCHEMAS.values()} - {
        node["display_name"] for node in NAMES[language].values()
    }
    assert [node for node in english if f"*{node}*" in page] == []


def test_french_breaks_no_line_before_its_punctuation():
    texts = [*PAGES.glob("*/fr.md"), *(ROOT / "locales" / "fr").iterdir()]
    assert [(text.name, BREAKABLE.findall(read(text))) for text in texts if BREAKABLE.search(read(text))] == []


def read(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def texts(of: dict | str) -> list[str]:
    return [of] if isinstance(of, str) else [text for part in of.values() for text in texts(part)]


def lines(page: str, start: str) -> int:
    return sum(line.startswith(start) for line in page.splitlines())
