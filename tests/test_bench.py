"""`dev.py bench operators` and `bench memory`: command lines and the rows they write, at sizes that take no time."""

import json
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from psld.devkit import ROOT
from psld.runtime.blocks import checkpointed

COLUMNS = ["operator", "call", "size", "batch", "ms", "ms_deepinv", "ratio", "device"]


def bench(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "dev.py"), "--no-setup", "bench", "operators", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict]]:
    """What it prints and writes for one operator that deepinv has and one that it has not."""
    out = tmp_path_factory.mktemp("bench") / "rows.json"
    sizes = ("--sizes", "64", "72", "--batches", "1", "2")
    result = bench(*sizes, "--repeats", "2", "--threads", "1", "--device", "cpu", "--only", "destripe", "mix",
                   "--out", str(out))  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout, json.loads(out.read_text())


@pytest.mark.slow
def test_there_is_a_row_for_every_call_size_and_batch(run) -> None:
    _, rows = run
    assert all(list(row) == COLUMNS for row in rows)
    expected = {(call, size, batch) for call in ("forward", "adjoint", "pinv") for size in (64, 72) for batch in (1, 2)}
    for name in ("destripe", "channel mix 3 to 2"):
        found = [(row["call"], row["size"], row["batch"]) for row in rows if row["operator"] == name]
        assert len(found) == len(expected) and set(found) == expected


@pytest.mark.slow
def test_the_ratio_compares_with_deepinv_where_it_can(run) -> None:
    for row in run[1]:
        assert row["ms"] > 0 and row["device"].endswith("1 thread")
        if row["operator"] == "destripe":
            assert row["ratio"] == pytest.approx(row["ms"] / row["ms_deepinv"], abs=1e-3)
        else:
            assert row["ms_deepinv"] is row["ratio"] is None


@pytest.mark.slow
def test_the_table_has_the_same_rows(run) -> None:
    printed, rows = run
    lines = [line for line in printed.splitlines() if line.startswith("| ")]
    assert len(lines) == 1 + len(rows)
    assert lines[1].startswith(f"| {rows[0]['operator']} | forward | 64 | 1 | {rows[0]['ms']:.1f} |")
    assert "12 rows beside deepinv: median ratio" in printed


def test_results_that_are_checked_in_are_such_rows() -> None:
    files = list(Path(ROOT, "benchmarks", "results").glob("operators_*.json"))
    assert files
    for file in files:
        rows = json.loads(file.read_text())
        assert all(list(row) == COLUMNS for row in rows)
        sizes = {(row["size"], row["batch"]) for row in rows}
        assert {(512, 1), (512, 8), (1024, 1), (1024, 8)} <= sizes


@pytest.mark.slow
def test_memory_of_a_step(tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    command = [sys.executable, str(ROOT / "dev.py"), "--no-setup", "bench", "memory", "--size", "64", "--out", str(out)]
    result = subprocess.run([*command, "--draft"], capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    (row,) = json.loads(out.read_text())
    assert row["method"] == "Glued MAP" and row["draft"] and row["steps"] == 1
    weights = 1.5 if torch.cuda.is_available() else 3  # in 16 bits, and in 32
    assert row["peak_gib"] >= row["loaded_gib"] > weights and row["seconds"] > 0


def test_what_a_decoder_keeps_is_what_its_backward_pass_holds() -> None:
    from psld.benchmarks import weighing

    found = weighing.row("decoder", 256, "32 bit", lambda: weighing.autoencoder_pass("decoder", 4, 256, torch.float32))
    assert found["plain_gib"] < found["blocks_gib"] < 0.6 * found["backward_gib"]
    assert found["kept_gib"] == pytest.approx(found["backward_gib"], rel=0.1)


@pytest.mark.slow
def test_what_is_changed_in_place_is_weighed_by_shapes_as_in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from psld.benchmarks import weighing
    from psld.tests.families import HERE

    (flux,) = (family for family in HERE if family.name == "FLUX.1 dev")
    flux = replace(flux, side=128, unet=flux.unet | {"depth": 2, "depth_single_blocks": 2})

    def weighed() -> list[tuple[int, int]]:
        again = (nullcontext, checkpointed)
        return [weighing.measured(lambda: weighing.model_pass(flux), True, held) for held in again]

    by_shapes = weighed()
    monkeypatch.setattr(weighing, "FakeTensorMode", lambda **_: nullcontext())
    assert by_shapes == weighed()
