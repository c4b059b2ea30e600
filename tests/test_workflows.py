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
from psld.drawing import comparisons, litegraph, old_photo, restoring, routing, samples, wiring, workflows

FOLDER = ROOT / "workflows"
TEMPLATES = workflows.templates()
WIDTH, TITLE = 1500, 30  # pixels of the canvas
NODES_2 = {
    "CheckpointLoaderSimple": 102,
    "PSLD_DataConsistency": 162,
    "PSLD_FindLines": 198,
    "PSLD_FitToModel": 234,
    "PSLD_GaussianBlur": 142,
    "PSLD_InpaintBox": 226,
    "PSLD_InpaintMask": 86,
    "PSLD_InpaintRandom": 142,
    "PSLD_LoadLDM": 126,
    "PSLD_Measure": 162,
    "PSLD_MeasurementFromImage": 202,
    "PSLD_MotionBlur": 170,
    "PSLD_SuperResolution": 114,
    "PSLD_UndoFit": 170,
}
"""Heights below the title that ComfyUI 0.33.0 gives nodes without a picture in its newer drawing ("Nodes 2.0")."""


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


@pytest.mark.parametrize("name", TEMPLATES)
def test_ui_nodes_do_not_overlap_and_fit_on_a_screen(name):
    boxes = [
        (*node["pos"], node["size"][0], 0 if node["flags"].get("collapsed") else node["size"][1])
        for node in read(f"{name}.json")["nodes"]
    ]
    assert max(x + w for x, _, w, _ in boxes) <= WIDTH
    for i, (x, y, w, h) in enumerate(boxes):
        for x2, y2, w2, h2 in boxes[:i]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 - TITLE or y2 + h2 <= y - TITLE


def ways(workflow: dict[str, Any]) -> dict[int, list[tuple[float, float]]]:
    """The points that each wire goes by, from its start on, as the frontend follows them: from the last one back."""
    extra = workflow["extra"]
    points, ways = {point["id"]: point for point in extra.get("reroutes", [])}, {}
    for link in extra.get("linkExtensions", []):
        way, number = [], link["parentId"]
        while number is not None:
            point = points.pop(number)
            assert point["linkIds"] == [link["id"]]
            way.insert(0, tuple(point["pos"]))
            number = point.get("parentId")
        ways[link["id"]] = way
    assert not points
    return ways


def hidden(workflow: dict[str, Any], ways: dict[int, list[tuple[float, float]]]) -> list[int]:
    """The wires that pass behind a node that they do not belong to."""
    nodes = {node["id"]: node for node in workflow["nodes"]}
    found = []
    for link in workflow["links"]:
        start, end = routing.ends(link, nodes)
        others = [routing.box(nodes[number]) for number in nodes.keys() - {link[1], link[3]}]
        if routing.behind(routing.wire([start, *ways.get(link[0], []), end]), others):
            found.append(link[0])
    return found


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_wire_passes_behind_a_node_that_it_does_not_belong_to(name):
    workflow = read(f"{name}.json")
    assert hidden(workflow, ways(workflow)) == []


@pytest.mark.parametrize("name", [wiring.title("fill a hole", "sd15"), comparisons.GRID])
def test_no_wire_makes_a_detour_that_it_does_not_need(name):
    workflow = read(f"{name}.json")
    assert hidden(workflow, {}) == sorted(ways(workflow))


def test_a_wire_is_drawn_as_by_the_frontend():
    """Between two sockets, and through one point: ends, the middle by hand, and the direction at the point."""
    straight = routing.wire([(0, 0), (400, 200)])
    assert straight[0].tolist() == [0, 0] and straight[-1].tolist() == [400, 200]
    assert straight[16] == pytest.approx((200, 100)) and straight[1, 0] > 3 * straight[1, 1]
    bent = routing.wire([(0, 0), (100, 0), (100, 100)])
    before, at, after = bent[31], bent[32], bent[34]
    assert at.tolist() == [100, 0] and (at - before)[0] == pytest.approx((before - at)[1] * -1, rel=0.2)
    assert (after - at)[0] == pytest.approx((after - at)[1], rel=0.3)


@pytest.mark.parametrize("name", TEMPLATES)
def test_nodes_are_as_high_as_the_newer_drawing_makes_them(name):
    """Else it would draw them over those below."""
    nodes = read(f"{name}.json")["nodes"]
    assert [node["type"] for node in nodes if node["size"][1] < NODES_2.get(node["type"], 0)] == []


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
