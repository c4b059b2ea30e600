"""The thumbnails of the templates: one each, small, under names that any system takes."""

import pytest
from PIL import Image
from psld.drawing import workflows

LARGE = 40_000  # bytes


@pytest.mark.parametrize("name", workflows.templates())
def test_every_template_has_a_small_thumbnail_and_a_name_that_any_system_takes(name):
    file = workflows.FOLDER / f"{name}.jpg"
    assert Image.open(file).format == "JPEG" and file.stat().st_size < LARGE
    assert not set('<>:"/\\|?*%#') & set(name)
