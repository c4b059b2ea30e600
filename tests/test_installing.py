"""What someone meets who puts the pack into a ComfyUI of theirs, in a folder of any name."""

import asyncio
import logging
import os
from pathlib import Path

import pytest
from psld.devkit import ROOT
from psld.runtime import samples

NAMES = ("psld-restore-main", "my restoring nodes", "画像修復")


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these copies of the pack register goes with the test: other tests know one pack."""
    import nodes

    for name in ("NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "EXTENSION_WEB_DIRS"):
        monkeypatch.setattr(nodes, name, dict(getattr(nodes, name)))


def load(folder: Path, name: str) -> bool:
    """ComfyUI's own loader, on the pack in a folder of this name."""
    import nodes

    (folder / name).symlink_to(ROOT, target_is_directory=True)
    return asyncio.run(nodes.load_custom_node(str(folder / name)))


@pytest.mark.parametrize("name", NAMES)
def test_the_pack_loads_and_shows_its_help_under_any_folder_name(name: str, tmp_path: Path) -> None:
    import nodes

    assert load(tmp_path, name)
    assert (Path(nodes.EXTENSION_WEB_DIRS[name]) / "docs" / "PSLD_KSampler.md").is_file()
    assert list(nodes.EXTENSION_WEB_DIRS.values()).count(nodes.EXTENSION_WEB_DIRS[name]) == 1


def test_a_comfyui_that_is_too_old_gets_one_line(tmp_path, monkeypatch, caplog) -> None:
    import comfyui_version

    monkeypatch.setattr(comfyui_version, "__version__", "0.3.63")
    with caplog.at_level(logging.WARNING):
        assert load(tmp_path, "old")
    assert [record.getMessage() for record in caplog.records] == [
        "PSLD needs ComfyUI 0.3.64 or newer, and this is 0.3.63: update it."
    ]


def test_the_samples_are_in_the_input_folder_and_load_image_lists_them(executor) -> None:
    import nodes

    listed = nodes.LoadImage.INPUT_TYPES()["required"]["image"][0]
    offered = [file.name for file in samples.SAMPLES.iterdir()]
    assert offered and set(offered) <= set(listed) and all(name.startswith("psld_") for name in offered)


@pytest.fixture
def input_folder(tmp_path, monkeypatch) -> Path:
    """An input folder of its own for ComfyUI."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "input_directory", str(tmp_path / "input"))
    return tmp_path / "input"


def test_samples_never_take_the_place_of_a_users_file(input_folder: Path) -> None:
    input_folder.mkdir()
    (input_folder / "psld_hand.png").write_text("mine")
    samples.offer_samples()
    assert (input_folder / "psld_hand.png").read_text() == "mine"
    assert sorted(os.listdir(input_folder)) == sorted(os.listdir(samples.SAMPLES))


def test_an_input_folder_that_cannot_be_written_to_costs_one_line(input_folder: Path, caplog) -> None:
    input_folder.write_text("a file where the folder should be")
    samples.offer_samples()
    (record,) = caplog.records
    assert str(samples.SAMPLES) in record.getMessage()
