"""The checked-in workflows: generated, known to ComfyUI, the same in both formats, and run by the real executor."""

import asyncio
import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from psld.devkit import ROOT, TASKS, interface, trial
from psld.drawing import litegraph, old_photo, restoring, samples, wiring, workflows

FOLDER = ROOT / "workflows"
TEMPLATES = workflows.templates()


def read(path: str) -> dict[str, Any]:
    return json.loads((FOLDER / path).read_text())


def inputs_of(info: dict[str, Any]) -> dict[str, Any]:
    """Specification of each input of a node type, by name."""
    return {**info["input"].get("required", {}), **info["input"].get("optional", {})}


@pytest.fixture(scope="module")
def catalogue() -> dict[str, dict[str, Any]]:
    """`/object_info` of the ComfyUI in this process."""
    return litegraph.offered()


def test_inputs_and_outputs_are_those_that_saved_workflows_rest_on(catalogue):
    """Where this is meant to change, widgets at the end only: `dev.py draw interface`."""
    assert interface.changes(interface.interface(catalogue)) == []
    swapped = interface.interface(catalogue)
    inputs = swapped["PSLD_KSampler"]["inputs"]
    swapped["PSLD_KSampler"]["inputs"] = dict(reversed(inputs.items()))
    assert interface.changes(swapped) == ["PSLD_KSampler: its inputs or outputs are not those of object_info.json"]


def test_the_files_are_what_the_generator_writes(catalogue):
    files = {str(file.relative_to(FOLDER)): file.read_text() for file in FOLDER.rglob("*.json")}
    assert files == workflows.written(catalogue)


@pytest.mark.parametrize("name", TEMPLATES)
def test_api_nodes_and_inputs_exist_and_links_fit(name, catalogue):
    workflow = read(f"api/{name}.json")
    for node in workflow.values():
        info = catalogue[node["class_type"]]
        known = inputs_of(info)
        assert set(info["input"].get("required", {})) <= set(node["inputs"]) <= set(known)
        for key, value in node["inputs"].items():
            if isinstance(value, list):
                source, slot = value
                kind = catalogue[workflow[source]["class_type"]]["output"][slot]
                assert known[key][0] in (kind, "*")


def api_of_ui(workflow: dict[str, Any], catalogue: dict[str, Any]) -> dict[str, Any]:
    """What the frontend's `graphToPrompt` makes of a UI workflow, titles left out; asserts that links are sound."""
    links = {link[0]: link for link in workflow["links"]}
    nodes = {node["id"]: node for node in workflow["nodes"]}
    assert len(links) == len(workflow["links"]) and max(links) == workflow["last_link_id"]
    assert len(nodes) == len(workflow["nodes"]) and max(nodes) == workflow["last_node_id"]
    for number, source, output, target, slot, kind in links.values():
        given, taken = nodes[source]["outputs"][output], nodes[target]["inputs"][slot]
        assert number in given["links"] and taken["link"] == number
        assert given["type"] == kind and taken["type"] in (kind, "*")
    prompt = {}

    def source(number: int) -> list[Any]:
        """Where a link comes from, behind a bypassed node: where the first of its inputs does."""
        _, node, output, *_ = links[number]
        if nodes[node]["mode"] == litegraph.BYPASS:
            assert output == 0 and nodes[node]["inputs"][0]["type"] == nodes[node]["outputs"][0]["type"]
            return source(nodes[node]["inputs"][0]["link"])
        return [str(node), output]

    for node in nodes.values():
        if node["type"] == "MarkdownNote" or node["mode"] == litegraph.BYPASS:
            continue
        known, values, inputs = inputs_of(catalogue[node["type"]]), list(node["widgets_values"]), {}
        taken = {socket["name"]: socket["link"] for socket in node["inputs"]}
        assert set(taken.values()) - {None} <= set(links)
        for key, spec in known.items():
            if key in taken:
                if taken[key] is not None:
                    inputs[key] = source(taken[key])
                continue
            inputs[key] = values.pop(0)
            options = spec[1] if len(spec) > 1 else {}
            if options.get("control_after_generate"):
                assert values.pop(0) == "fixed"
            if options.get("image_upload"):
                assert values.pop(0) == "image"
        assert not values
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def as_previewed(name: str) -> dict[str, Any]:
    """An API workflow with its intermediate pictures previewed, as the UI workflow has them."""
    template, prompt = TEMPLATES[name], {}
    for number, node in read(f"api/{name}.json").items():
        title = node["_meta"]["title"]
        if title in template.left_out:
            continue
        prompt[number] = {"class_type": node["class_type"], "inputs": node["inputs"]}
        if title in template.previewed:
            prompt[number] = {"class_type": "PreviewImage", "inputs": {"images": node["inputs"]["images"]}}
    return prompt


@pytest.mark.parametrize("name", TEMPLATES)
def test_ui_workflow_says_the_same_as_the_api_workflow(name, catalogue):
    assert api_of_ui(read(f"{name}.json"), catalogue) == as_previewed(name)


@pytest.mark.parametrize("prior", restoring.PRIORS)
@pytest.mark.parametrize("job", [*restoring.JOBS, old_photo.NAME])
def test_app_mode_asks_for_the_photo_and_what_is_wrong_and_shows_the_restored_picture(job, prior, catalogue):
    workflow = read(f"{restoring.title(job, prior)}.json")
    kinds, app = {node["id"]: node["type"] for node in workflow["nodes"]}, workflow["extra"]["linearData"]
    asked = [(kinds[number], widget) for number, widget in app["inputs"]]
    assert asked == [("LoadImage", "image"), *(("PSLD_RestorePhoto", w) for w in ("problem", "strength", "seed"))]
    assert all(widget in litegraph.defaults(catalogue[kind]) for kind, widget in asked)
    assert [kinds[number] for number in app["outputs"]] == ["SaveImage"]


@pytest.mark.parametrize("prior", restoring.PRIORS)
@pytest.mark.parametrize("job", restoring.JOBS)
def test_a_photo_takes_four_nodes_and_a_report(job, prior):
    kinds = [node["class_type"] for node in read(f"api/{restoring.title(job, prior)}.json").values()]
    loader = "PSLD_LoadLDM" if prior == "ldm" else "CheckpointLoaderSimple"
    assert kinds == ["LoadImage", loader, "PSLD_RestorePhoto", "SaveImage", "PreviewAny"]


@pytest.mark.parametrize("task", TASKS)
def test_titles_are_those_the_demo_goes_by(task):
    kinds = {node["_meta"]["title"]: node["class_type"] for node in read(f"api/{trial(task)}.json").values()}
    saved = dict.fromkeys(("save truth", "save measurement", "save pinv", "save restored"), "SaveImage")
    wanted = {"photo": "LoadImage", "sampler": "PSLD_KSampler", "metrics": "PSLD_ImageMetrics", **saved}
    assert {**kinds, **wanted} == kinds


@pytest.mark.parametrize("task", TASKS)
def test_ldm_workflow_runs_in_the_executor(task, executor, comfy_base):
    import execution

    workflow = copy.deepcopy(read(f"api/{trial(task)}.json"))
    ids = {node["_meta"]["title"]: number for number, node in workflow.items()}
    workflow[ids["sampler"]]["inputs"]["steps"] = 3
    valid, error, outputs, node_errors = asyncio.run(execution.validate_prompt(task, workflow, None))
    assert valid, (error, node_errors)
    executor.execute(workflow, task, {}, outputs)
    assert executor.success, executor.status_messages
    shown = executor.history_result["outputs"]
    metrics = json.loads(shown[ids["metrics"]]["metrics"][0])
    assert metrics["nfe"] == 1 + 4 + 2 + 1  # the first level, four candidates, a probe of two of them, the last level
    assert metrics["sigma_y"] == pytest.approx(0.05) and np.isfinite(metrics["psnr"])
    pictures = {title: picture(comfy_base, shown[ids[title]]) for title in ids if title.startswith("save ")}
    truth = np.asarray(Image.open(FOLDER / "samples" / "hand_five.png"))
    assert (pictures["save truth"] == truth).all()
    assert pictures["save restored"].shape == pictures["save pinv"].shape == truth.shape
    assert all(picture.std() > 5 for picture in pictures.values())


@pytest.mark.parametrize("job", ["fill a hole", "remove scratches"])
def test_what_is_built_runs_and_changes_nothing_but_what_is_spoilt(job, run_prompt):
    workflow = read(f"api/{wiring.title(job, 'ldm')}.json")
    ids = {node["_meta"]["title"]: number for number, node in workflow.items()}
    workflow[ids["sampler"]]["inputs"]["steps"] = 3
    outputs = run_prompt(workflow)
    photo, restored = outputs[ids["photo"]][0], outputs[ids["undo"]][0]
    if job == "fill a hole":
        spoilt = outputs[ids["photo"]][1] > 0
    else:
        drawn = np.asarray(Image.open(FOLDER / "input" / samples.sample("ldm", "scratched")))
        lines = torch.from_numpy((np.asarray(samples.clean("ldm")) != drawn).any(-1))[None]
        spoilt = outputs[ids["lines"]][0] > 0
        assert not (lines & ~spoilt).any() and int((spoilt & ~lines).sum()) < 0.02 * int(lines.sum())
    assert restored.shape == photo.shape and torch.equal(restored[~spoilt], photo[~spoilt])
    assert (restored[spoilt] != photo[spoilt]).any(-1).float().mean() > 0.5


@pytest.mark.slow
def test_sharpening_in_one_node_is_sharpening_by_its_parts(run_prompt):
    """Both estimate the noise: the template by parts is told it (0.02), which is worth 0.14 dB."""
    truth = torch.from_numpy(np.asarray(samples.clean("ldm")) / 255.0)

    def restored(name: str, result: str, **changes: float) -> torch.Tensor:
        workflow = read(f"api/{name}.json")
        ids = {node["_meta"]["title"]: number for number, node in workflow.items()}
        if changes:
            workflow[ids["measure"]]["inputs"] |= changes
        return run_prompt(workflow)[ids[result]][0][0]

    by_node = restored(restoring.title("Sharpen a blurry photo", "ldm"), "restore")
    by_parts = restored(wiring.title("sharpen", "ldm"), "undo", sigma=-1.0)
    assert -10 * (by_node - truth).square().mean().log10() > 33
    assert (by_node - by_parts).abs().max() < 1 / 255


@pytest.mark.parametrize(
    ("job", "found"),
    [
        pytest.param(old_photo.NAME, "Gaussian blur, sigma 1", marks=pytest.mark.slow),
        pytest.param("Sharpen a photo of unknown blur", "Gaussian blur, sigma 1", marks=pytest.mark.slow),
        ("Fix a JPEG", "a JPEG of quality 10, 4:2:0"),
    ],
)
def test_what_was_done_to_a_photo_is_found_and_undone(job, found, run_prompt):
    workflow = read(f"api/{restoring.title(job, 'ldm')}.json")
    ids = {node["_meta"]["title"]: number for number, node in workflow.items()}
    workflow[ids["restore"]]["inputs"]["quality"] = "fast"
    outputs = run_prompt(workflow)
    photo, (restored, _, report) = outputs[ids["photo"]][0], outputs[ids["restore"]]
    truth = torch.from_numpy(np.asarray(samples.clean("ldm")) / 255.0)
    assert f"Found: {found}" in report and "Verdict: matches the photo" in report and "Note" not in report
    assert (restored - truth).square().mean() < 0.6 * (photo - truth).square().mean()


@pytest.mark.parametrize("kind", samples.SPOILT)
@pytest.mark.parametrize("prior", samples.PHOTOS)
def test_the_spoilt_samples_are_what_their_module_draws(prior, kind):
    """Exact but for the last bit of a sum, and for the JPEG files."""
    checked_in = np.asarray(Image.open(FOLDER / "input" / samples.sample(prior, kind)), dtype=float)
    drawn = np.asarray(samples.SPOILT[kind](prior), dtype=float)
    assert drawn.shape == checked_in.shape
    assert abs(drawn - checked_in).mean() < (6 if samples.sample(prior, kind).endswith("jpg") else 0.01)


def picture(base: Path, output: dict[str, Any]) -> np.ndarray:
    """The picture that a SaveImage node wrote, HWC."""
    (saved,) = output["images"]
    return np.asarray(Image.open(base / "output" / saved["subfolder"] / saved["filename"]))
