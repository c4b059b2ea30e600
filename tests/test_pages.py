"""Help pages, their pictures, tooltips and translations: complete for every node, and of no node that is gone."""

import re

import pytest
from PIL import Image
from psld.drawing import pages, workflows
from psld.drawing.gallery import EXAMPLES, FOLDER, SIDE
from psld.nodes import NODES

DOCS = pages.FOLDER.parent
SCHEMAS = {node.GET_SCHEMA().node_id: node.GET_SCHEMA() for node in NODES}
STEMS = {title.rpartition(" (")[0] for title in workflows.templates()}
IN_TEMPLATES = {
    stem: {node.class_type for title, one in workflows.templates().items() if title.startswith(stem + " (")
           for node in one.nodes.values()}
    for stem in STEMS
}  # fmt: skip


def test_every_node_has_its_page_and_picture_and_no_other_file_is_there():
    assert {file.stem for file in DOCS.glob("*.md")} == SCHEMAS.keys()
    assert {file.stem for file in pages.FOLDER.iterdir()} == SCHEMAS.keys()
    assert {f"PSLD_{node}" for node in pages.pictures()} == SCHEMAS.keys()


@pytest.mark.parametrize("node_id", SCHEMAS)
def test_a_page_says_what_when_and_where_and_shows_a_small_picture(node_id):
    schema = SCHEMAS[node_id]
    text = (DOCS / f"{node_id}.md").read_text()
    assert text.startswith(f"# {schema.display_name}\n")
    assert [known.id for known in schema.inputs if f"**{known.id}**" not in text] == []
    assert text.count(f"![{schema.display_name}](pictures/{node_id}.jpg)") == 1 and "\n**When to use it**: " in text
    file = pages.FOLDER / f"{node_id}.jpg"
    with Image.open(file) as picture:
        assert picture.format == "JPEG" and min(picture.size) > 200 and file.stat().st_size <= pages.LARGEST


@pytest.mark.parametrize("node_id", SCHEMAS)
def test_a_page_names_a_template_that_has_the_node_or_one_that_it_can_replace(node_id):
    (line,) = re.findall(r"^\*\*Template\*\*: (.+)$", (DOCS / f"{node_id}.md").read_text(), re.MULTILINE)
    named = re.findall(r"\*([^*]+)\*", line)
    shown = [IN_TEMPLATES[name] for name in named if name in STEMS]
    assert shown
    others = {schema.display_name: node for node, schema in SCHEMAS.items()}
    replaced = {others[name] for name in named if name in others}
    assert any(node_id in nodes or replaced & nodes for nodes in shown) or "a stock" in line


@pytest.mark.parametrize("node_id", SCHEMAS)
def test_every_input_has_a_tooltip(node_id):
    assert [known.id for known in SCHEMAS[node_id].inputs if not known.tooltip] == []


@pytest.mark.parametrize("example", [EXAMPLES[0], EXAMPLES[26]], ids=lambda example: example.node)
def test_an_operators_picture_is_the_gallerys(example):
    """The first panel of both, with a margin for the JPEG."""
    with Image.open(FOLDER / example.file) as strip, Image.open(pages.FOLDER / f"PSLD_{example.node}.jpg") as page:
        small = [one.convert("RGB").crop((0, 0, 2 * SIDE, 2 * SIDE)).resize((12, 12)) for one in (strip, page)]
    assert max(abs(a - b) for a, b in zip(*(one.tobytes() for one in small), strict=True)) < 16
