"""`dev.py bench models`: its rows and its plot on two tiny families, and the widths of the real ones."""

from __future__ import annotations

import argparse
import json

import pytest
import torch
from PIL import Image
from psld.benchmarks import families, real, repeats
from psld.benchmarks.bare import recorded
from psld.devkit import DevError, bench

pytestmark = pytest.mark.usefixtures("single_thread")


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench.models_arguments(parser)
    return parser.parse_args(["--steps", "2", *words])


@pytest.mark.slow
def test_a_row_for_each_family_and_method(tmp_path):
    out = tmp_path / "made" / "rows.json"
    assert families.run(arguments("--families", "SD 1.5", "HiDream-I1", "--out", str(out))) == 0
    rows = json.loads(out.read_text())["rows"]
    named = [(row["family"], row["method"]) for row in rows]
    methods = ["Glued MAP", "Proximal gluing", "PSLD"]
    assert named == [("SD 1.5", m) for m in methods] + [("HiDream-I1", m) for m in methods[:2]]
    for row in rows:
        assert row["seconds"] > 0 and row["networks"] > 0 and row["peak_gib"] >= row["loaded_gib"] > 0
        assert row["tier"] == "all at once" and row["windows"] == 1 and row["forwards"] > 2 * row["steps"]
        assert (row["backwards"] > 0) == (row["method"] != "Proximal gluing")
    assert Image.open(out.with_suffix(".png")).width > 1000


def test_a_seed_gives_the_same_bits_twice(tmp_path):
    parser, out = argparse.ArgumentParser(), tmp_path / "rows.json"
    bench.seeded_arguments(parser)
    assert repeats.run(parser.parse_args(["--steps", "2", "--out", str(out)])) == 0
    rows = json.loads(out.read_text())["rows"]
    assert [row["method"] for row in rows] == ["Glued MAP", "PSLD"]
    assert all(row["repeatable"]["same"] and row["repeatable"]["seconds"] > 0 for row in rows)
    with pytest.raises(DevError, match="--families: there is no SD 9; choose from SD 1.5, "):
        repeats.run(parser.parse_args(["--families", "SD 9"]))


def test_calls_are_counted_by_size_and_mode():
    network = torch.nn.Linear(2, 2)
    x = torch.ones(1, 2)
    with recorded([(network, "forward")]) as calls:
        network(x), network(x), network(x.repeat(3, 1))
        (move,) = torch.autograd.grad(network(x.requires_grad_()).sum(), x)
    found = [(tuple(entry.x.shape), entry.traced, entry.forwards, entry.backwards) for entry in calls]
    assert found == [((1, 2), False, 2, 0), ((3, 2), False, 1, 0), ((1, 2), True, 1, 1)]
    assert torch.equal(move, network.weight.sum(0, keepdim=True)) and "forward" not in vars(network)
    assert all(entry.seconds() >= 0 for entry in calls)


def test_real_widths_have_the_published_numbers_of_weights():
    found = {family.name: round(real.parameters(family) / 1e6) for family in real.REAL}
    assert found == {"SD 1.5": 860, "SDXL": 2567, "SD 3.5 Medium": 2470, "FLUX.1 dev": 11901}


def test_a_wrong_name_is_refused_with_those_there_are():
    with pytest.raises(DevError, match="--families: there is no SD 9; choose from SD 1.5, "):
        families.run(arguments("--families", "SD 9"))
    with pytest.raises(DevError, match="--methods: there is no Guess; choose from Glued MAP, "):
        families.run(arguments("--methods", "Guess"))
