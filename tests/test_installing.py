"""What someone meets who puts the pack into a ComfyUI of theirs, in a folder of any name."""

import ast
import asyncio
import importlib.metadata
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image
from psld import NEEDED
from psld.devkit import ROOT
from psld.devkit.client import Client, load_workflow
from psld.devkit.environment import comfyui_path, requirements
from psld.devkit.server import comfyui_server
from psld.drawing import restoring
from psld.runtime import samples
from psld.runtime.web_files import missing_routes

NAMES = ("ComfyUI-PSLD-main", "my restoring nodes", "画像修復", "psld-restore-0.2.0")
AWKWARD = "画像 修復 0.2"
"""A space, other letters and a dot."""
SHIPPED = {"__init__.py", "CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "locales", "nodes", "operators",
           "priors", "runtime", "solvers", "subgraphs", "web", "workflows"}  # fmt: skip


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these copies of the pack register goes with the test: other tests know one pack."""
    import nodes

    for name in ("NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "EXTENSION_WEB_DIRS"):
        monkeypatch.setattr(nodes, name, dict(getattr(nodes, name)))


def load(folder: Path, name: str) -> bool:
    """ComfyUI's own loader, on the pack in a folder of this name."""
    import nodes

    if not (folder / name).exists():
        (folder / name).symlink_to(ROOT, target_is_directory=True)
    return asyncio.run(nodes.load_custom_node(str(folder / name)))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the Registry's archive has: all but what .comfyignore and .gitignore name."""
    lines = [line for file in (".comfyignore", ".gitignore") for line in (ROOT / file).read_text().splitlines()]
    left_out = [line.rstrip("/") for line in lines if line and not line.startswith("#")] + ["/.*"]

    def ignored(folder: str, names: list[str]) -> list[str]:
        places = {name: Path("/", Path(folder).relative_to(ROOT), name) for name in names}
        return [name for name, place in places.items() if any(place.match(one) for one in left_out)]

    return shutil.copytree(ROOT, tmp_path_factory.mktemp("archive") / "pack", ignore=ignored)


def test_the_archive_has_what_comfyui_reads_and_is_small(archive: Path) -> None:
    assert {file.name for file in archive.iterdir()} == SHIPPED
    for folder in ("subgraphs", "web", "locales", "workflows/api", "workflows/input"):
        files = {str(file.relative_to(ROOT)) for file in (ROOT / folder).rglob("*.*")}
        assert files and files == {str(file.relative_to(archive)) for file in (archive / folder).rglob("*.*")}
    assert sum(file.stat().st_size for file in archive.rglob("*")) < 35e6


def test_pyproject_says_what_the_registry_takes() -> None:
    """What `comfy node validate` passes over, though a name and a version are fixed for ever once published."""
    text = (ROOT / "pyproject.toml").read_text()
    name, version, needed = (
        re.search(rf'^{key} = "(.*)"$', text, re.MULTILINE)[1] for key in ("name", "version", "requires-comfyui")
    )
    assert re.fullmatch("[a-z][a-z0-9._-]{0,98}", name) and "comfy" not in name
    assert re.fullmatch(r"\d+\.\d+\.\d+", version) and f"\n## {version}\n" in (ROOT / "CHANGELOG.md").read_text()
    assert needed == ">=" + ".".join(map(str, NEEDED))
    icon, banner = (Image.open(ROOT / "docs" / "registry" / f"{name}.png").size for name in ("icon", "banner"))
    assert icon[0] == icon[1] <= 400 and banner[0] * 9 == banner[1] * 21


def test_nothing_is_imported_that_comfyui_does_not_require(archive: Path) -> None:
    theirs = [re.split(r"[^\w.-]", line)[0] for line in requirements(comfyui_path())] + ["torch"]
    required = {re.sub("[-_.]+", "-", name).lower() for name in theirs}
    packages = importlib.metadata.packages_distributions()
    for module in imported(archive) - sys.stdlib_module_names:
        found = {re.sub("[-_.]+", "-", name).lower() for name in packages.get(module, [])}
        assert found & required or (comfyui_path() / module).is_dir() or (comfyui_path() / f"{module}.py").is_file()


def imported(folder: Path) -> set[str]:
    """The top-level modules that the nodes' code imports."""
    modules = set()
    for file in folder.rglob("*.py"):
        if file.is_relative_to(folder / "workflows"):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules.add(node.module)
    return {module.partition(".")[0] for module in modules}


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """A server with the pack in a folder of a name that no URL takes as it is."""
    with comfyui_server(tmp_path_factory.mktemp("base"), pack=AWKWARD) as running:
        yield running


@pytest.mark.slow
def test_help_and_templates_are_found_and_run_in_a_folder_of_an_awkward_name(awkward) -> None:
    title = restoring.title("Sharpen a blurry photo", "ldm")
    assert title in awkward.get("/workflow_templates")[AWKWARD]
    for route in ("/workflow_templates", "/api/workflow_templates"):
        opened = awkward.get(f"{route}/{quote(AWKWARD)}/{quote(title)}.json")
        assert opened == json.loads((ROOT / "workflows" / f"{title}.json").read_text())
    boxes = awkward.get("/global_subgraphs").values()
    assert f"custom_nodes.{AWKWARD}" in {box["info"]["node_pack"] for box in boxes}
    workflow = load_workflow(ROOT / "workflows" / "api" / f"{title}.json")

    async def scenario() -> int:
        async with Client(awkward.address) as client:
            result = await client.run(workflow)
        return sum(len(output.get("images", [])) for output in result.outputs.values())

    assert asyncio.run(scenario()) > 0


@pytest.mark.slow
def test_a_folder_of_an_awkward_name_serves_what_is_in_it_and_nothing_else(awkward) -> None:
    import urllib.error
    import urllib.request

    def status(path: str) -> int:
        try:
            with urllib.request.urlopen(f"http://{awkward.address}{path}") as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    asked = quote(AWKWARD.partition(".")[0])  # as the frontend takes it out of a node's module
    for file in ("PSLD_KSampler.md", "PSLD_KSampler/fr.md", "pictures/PSLD_KSampler.jpg"):
        assert status(f"/extensions/{asked}/docs/{file}") == 200
    for file in ("PSLD_NoSuchNode.md", "pictures", "..%2f..%2fpyproject.toml", "%2e%2e/%2e%2e/pyproject.toml"):
        assert status(f"/extensions/{asked}/docs/{file}") == 404


def test_a_folder_of_a_plain_name_leaves_all_routes_to_comfyui() -> None:
    assert missing_routes("ComfyUI-PSLD-main") == {}
    assert list(missing_routes("psld-0.2").values()) == ["web/docs"]


@pytest.mark.parametrize("name", NAMES)
def test_the_pack_loads_and_shows_its_help_under_any_folder_name(name: str, archive: Path, tmp_path: Path) -> None:
    import nodes

    (tmp_path / name).symlink_to(archive, target_is_directory=True)
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
