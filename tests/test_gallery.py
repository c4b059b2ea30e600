"""docs/operators.md: made by the code that is here, and complete."""

import re

import numpy as np
import pytest
from PIL import Image
from psld.drawing import gallery
from psld.nodes.operators import NODES


def test_the_page_is_what_the_gallery_writes():
    assert gallery.PAGE.read_text() == gallery.page()


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.GET_SCHEMA().node_id)
def test_the_page_shows_every_operator_node(node):
    schema = node.GET_SCHEMA()
    (section,) = [s for s in gallery.PAGE.read_text().split("\n### ") if s.startswith(f"[{schema.display_name}](")]
    assert (gallery.PAGE.parent / re.search(r"\]\(([^)]+\.md)\)", section)[1]).is_file()
    pictures = re.findall(r"!\[.*\]\((.+\.png)\)", section)
    assert pictures and all((gallery.PAGE.parent / picture).is_file() for picture in pictures)


def test_every_picture_is_on_the_page_and_together_they_are_small():
    files = list(gallery.FOLDER.glob("*"))
    assert {file.name for file in files} == {example.file for example in gallery.EXAMPLES}
    assert sum(file.stat().st_size for file in files) < 1_500_000


@pytest.mark.parametrize("number", [0, 2, 23, 26, 27, 31, 33], ids=lambda n: gallery.EXAMPLES[n].file)
def test_the_pictures_are_what_the_operators_give(number):
    """Compared with a margin: resampling, Fourier transforms and palettes differ a little between machines."""
    example = gallery.EXAMPLES[number]
    checked_in = np.asarray(Image.open(gallery.FOLDER / example.file).convert("RGB"), dtype=float)
    drawn = np.asarray(gallery.draw(example).convert("RGB"), dtype=float)
    assert drawn.shape == checked_in.shape and abs(drawn - checked_in).mean() < 4
