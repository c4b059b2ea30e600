"""Checkpoints and configs that somebody made to do harm, or that were cut off: refused, and no code of theirs runs."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from psld.runtime.ldm import load_ldm
from psld.tests.ldm import SMALL, UNET, save, small_weights

pytestmark = pytest.mark.usefixtures("single_thread")


def refusal(file: Path) -> str:
    """The sentence that a file is refused with. Anything but a ValueError is raised."""
    with pytest.raises(ValueError) as refused:
        load_ldm(file)
    return str(refused.value)


def is_sentence(said: str) -> bool:
    return len(said.split()) > 5 and "Traceback" not in said


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return small_weights()


CONFIGS = {
    "model": [], "model is a number": {"model": 3}, "params is a text": {"model": {"params": "x"}},
    "unet_config is a list": {"unet_config": [1]}, "params of unet_config is a number": {"unet_config": {"params": 3}},
    "first_stage_config is nothing": {"first_stage_config": None}, "schedule is a number": {"schedule": 3},
    "ddconfig is a text": {"first_stage_config": {"params": {"ddconfig": "x"}}},
    **{f"{name} is {value}": {name: value} for name, values in {
        "timesteps": (0, -5, 10**12, "many", None, [1], float("inf"), float("nan")),
        "linear_start": (float("nan"), -1, 0, "x", [0.1], 5.0), "linear_end": (float("inf"), 0, -0.1, 3.0),
        "scale_factor": (0, float("nan"), float("inf"), "x", {}, -1), "beta_schedule": ("magic", 3),
    }.items() for value in values},
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_an_absurd_config_is_refused(weights, tmp_path, name):
    file, config = save(tmp_path, weights), CONFIGS[name]
    whole = config if name.split(" ")[0] in ("model", "params") else {"model": {"params": SMALL | config}}
    if name.startswith("params of"):
        whole = {"model": {"params": SMALL | config}}
    file.with_suffix(".yaml").write_text(json.dumps(whole))
    assert is_sentence(refusal(file))


@pytest.mark.parametrize("metadata", ["{", "[]", "3", '{"params": {"num_heads": "x"}}', "null", '"text"'])
def test_absurd_metadata_is_refused(weights, tmp_path, metadata):
    safetensors.torch.save_file(weights, tmp_path / "small.safetensors", metadata={"unet_config": metadata})
    assert is_sentence(refusal(tmp_path / "small.safetensors"))


class Bomb:
    """Leaves a trace where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("kind", ["torch", "legacy", "bare pickle", "in the weights"])
def test_a_pickle_bomb_does_not_go_off(weights, tmp_path, kind):
    trace, file = tmp_path / "trace", tmp_path / "bomb.ckpt"
    inside = {"x": Bomb(trace)} if kind == "in the weights" else {}
    content = {"state_dict": weights | inside, "callbacks": Bomb(trace)}
    if kind == "bare pickle":
        file.write_bytes(pickle.dumps({"callbacks": Bomb(trace)}))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=kind != "legacy")
    assert is_sentence(refusal(file)) and not trace.exists()


def test_a_zip_with_names_outside_writes_nothing(weights, tmp_path):
    file = tmp_path / "deep" / "small.ckpt"
    file.parent.mkdir()
    torch.save({"state_dict": weights}, file)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("../../outside.txt", "x")
        archive.writestr("/tmp/psld-outside.txt", "x")
    before = sorted(tmp_path.rglob("*"))
    assert is_sentence(refusal(file))  # it has no config
    assert sorted(tmp_path.rglob("*")) == before and not Path("/tmp/psld-outside.txt").exists()


@pytest.mark.parametrize("keep", [0, 1, 8, 9, 200, 0.1, 0.5, 0.999])
@pytest.mark.parametrize("end", [".safetensors", ".ckpt"])
def test_a_file_cut_off_anywhere_is_refused(weights, tmp_path, keep, end):
    whole = save(tmp_path, weights)
    file = whole if end == ".safetensors" else whole.with_suffix(end)
    if end == ".ckpt":
        torch.save({"state_dict": weights}, file)
    content = file.read_bytes()
    file.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    assert file.name in (said := refusal(file)) and is_sentence(said)


HEADERS = {
    "an endless header": b"\xff" * 8 + b"{}", "a header that is no JSON": (5).to_bytes(8, "little") + b"hello",
    "offsets beyond the end": b'{"a":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4000000]}}',
    "a shape that overflows": b'{"a":{"dtype":"F32","shape":[9223372036854775807,9],"data_offsets":[0,4]}}',
    "negative offsets": b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}',
    "an unknown dtype": b'{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}',
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_a_forged_header_is_refused(tmp_path, name):
    header, file = HEADERS[name], tmp_path / "forged.safetensors"
    file.write_bytes(header if name.startswith("a header") or "endless" in name else
                     len(header).to_bytes(8, "little") + header + b"\0" * 4)  # fmt: skip
    assert "forged.safetensors" in (said := refusal(file)) and is_sentence(said)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(weights, tmp_path, value):
    spoilt = weights | {UNET + "out.0.bias": torch.full_like(weights[UNET + "out.0.bias"], value)}
    assert "NaN or infinite" in refusal(save(tmp_path, spoilt))


@pytest.mark.parametrize("shape", [(), (0,), (32,), (32, 4, 3), (32, 4, 3, 3, 1), (0, 4, 3, 3), (32, 4, 9, 9)])
def test_weights_of_wrong_shapes_are_refused(weights, tmp_path, shape):
    for key in (UNET + "input_blocks.0.0.weight", "first_stage_model.decoder.conv_in.weight"):
        assert is_sentence(refusal(save(tmp_path, weights | {key: torch.zeros(shape)})))
