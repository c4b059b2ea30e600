"""What people type finds the right node, and expert inputs are folded away, as far as this ComfyUI can."""

import dataclasses

import pytest
from comfy_api.latest import io
from psld.nodes import NODES
from psld.nodes.names import ALIASES, EXPERT

SCHEMAS = {node.GET_SCHEMA().node_id: node.GET_SCHEMA() for node in NODES}
HAS_ALIASES = "search_aliases" in {field.name for field in dataclasses.fields(io.Schema)}


@pytest.mark.parametrize(
    ("word", "found"),
    {
        "restore": "RestorePhoto", "photo": "RestorePhoto", "repair": "Destripe", "erase": "InpaintMask",
        "remove": "Denoise", "upscale": "SuperResolution", "enlarge": "SuperResolution", "sharpen": "DefocusBlur",
        "deblur": "GaussianBlur", "denoise": "Denoise", "colorize": "Greyscale", "inpaint": "InpaintMask",
        "scratches": "FindLines",
    }.items(),
)  # fmt: skip
def test_a_word_finds_its_node(word, found):
    """In every version by id and display name; Restore Photo by most words where there are search words."""
    schema = SCHEMAS[f"PSLD_{found}"]
    assert word in f"{schema.node_id} {schema.display_name}".lower()
    assert word in ALIASES["PSLD_RestorePhoto"]
    if HAS_ALIASES:
        assert SCHEMAS["PSLD_RestorePhoto"].search_aliases == ALIASES["PSLD_RestorePhoto"]


def test_every_search_word_and_expert_input_belongs_to_a_node():
    assert ALIASES.keys() | EXPERT.keys() <= SCHEMAS.keys()
    for node_id, names in EXPERT.items():
        inputs = {known.id: known for known in SCHEMAS[node_id].inputs}
        assert names <= inputs.keys()
        for name, known in inputs.items():
            if hasattr(known, "advanced"):
                assert bool(known.advanced) == (name in names)


def test_seed_and_steps_come_first():
    """Widgets are laid out as they are declared, and stored by their position: the first ones stay."""
    widgets = [known.id for known in SCHEMAS["PSLD_KSampler"].inputs if isinstance(known, io.WidgetInput)]
    assert widgets[:9] == [
        "seed", "steps", "cfg", "scheduler", "gamma", "omega", "method", "keep_measured", "candidates",
    ]  # fmt: skip
