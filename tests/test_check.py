"""`dev.py check`: the embedded prior, a model file with a VAE of its own, and what cannot be used."""

from __future__ import annotations

import argparse
import json

import pytest
from PIL import Image
from psld.benchmarks import checkpoint
from psld.benchmarks.checkpoint import run
from psld.devkit import DevError, check
from psld.nodes.loading import PRIORS

pytestmark = pytest.mark.usefixtures("single_thread")
PRIOR = str(PRIORS / "hands64.safetensors")


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    check.arguments(parser)
    return parser.parse_args([*words])


@pytest.mark.slow
def test_three_methods_restore_a_photo(tmp_path, capsys):
    assert run(arguments(PRIOR, "--steps", "3", "--out", str(tmp_path / "new"))) == 0
    rows = json.loads((tmp_path / "new" / "check.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["Glued MAP", "PSLD", "Proximal gluing"]
    assert all(row["psnr"] > 18 and row["lpips"] < 0.3 and row["residual"] < 1.1 for row in rows)
    assert all(row["seconds"] > 0 and row["peak_gib"] > 0 and row["tier"] == "all at once" for row in rows)
    assert "| super_resolution | PSLD | 3 |" in capsys.readouterr().out
    for name in ("truth", "pinv", "Glued_MAP", "PSLD", "Proximal_gluing"):
        assert Image.open(tmp_path / "new" / f"super_resolution_{name}.png").size == (64, 64)
    assert Image.open(tmp_path / "new" / "super_resolution.png").width > 6 * 100


def test_a_method_that_fails_says_so_and_the_others_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(checkpoint, "METHODS", {"DDRM": 2, "Proximal gluing": 2})
    assert run(arguments(PRIOR, "--tasks", "motion_deblur", "--out", str(tmp_path))) == 1
    said = capsys.readouterr().out
    assert "motion_deblur, DDRM: failed: " in said and "| motion_deblur | Proximal gluing | 2 |" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["/absent.safetensors"], "/absent.safetensors does not exist"),
        ([PRIOR, "--vae", "/absent.safetensors"], "--vae: /absent.safetensors does not exist"),
        ([PRIOR, "--image", __file__], "--image: .* cannot be read as a picture"),
        ([PRIOR, "--size", "50"], "--size: 50 px; choose a multiple of 4"),
    ],
)
def test_what_cannot_be_used_is_answered_by_a_sentence(words, sentence):
    with pytest.raises(DevError, match=sentence):
        run(arguments(*words))
