"""What a run sets for kernels on a GPU. Their settings are there without one; what they do is not."""

import os

import pytest
import torch
from comfy.cli_args import args
from psld.runtime.estimates import Tier
from psld.runtime.kernels import WORKSPACE, exact_kernels, repeatable
from psld.runtime.memory import Plan

CUDA = torch.device("cuda")


def settings() -> tuple:
    cudnn = torch.backends.cudnn
    return (
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(), torch.utils.deterministic.fill_uninitialized_memory,
        os.environ.get(WORKSPACE),
    )  # fmt: skip


def without_deterministic_kernel(_: Tier) -> torch.Tensor:
    """One of the few operations that have none on a CPU either."""
    return torch.zeros(3).put_(torch.tensor([1]), torch.ones(1))


@pytest.mark.parametrize("warned", [False, True])
def test_settings_hold_in_a_run_alone(warned):
    torch.use_deterministic_algorithms(warned, warn_only=True)  # as ComfyUI's own --deterministic
    try:
        before = settings()
        with pytest.raises(KeyError), exact_kernels(CUDA):
            assert settings()[:5] == (True, False, False, True, False)
            raise KeyError
        assert settings() == before
    finally:
        torch.use_deterministic_algorithms(False)


def test_deterministic_kernels_are_for_those_who_ask(monkeypatch):
    """They took twice the time: see benchmarks/results/seeded_h200.json."""
    monkeypatch.setattr(args, "deterministic", False)
    with exact_kernels(CUDA):
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.are_deterministic_algorithms_enabled()


def test_a_cpu_is_left_as_it_is():
    before = settings()
    with exact_kernels(torch.device("cpu")):
        assert settings() == before


def test_a_run_goes_on_where_there_is_no_deterministic_kernel(caplog):
    with repeatable():
        with pytest.raises(RuntimeError, match="determinis"):
            without_deterministic_kernel(Tier())
        assert Plan([Tier()]).attempt(without_deterministic_kernel).tolist() == [0, 1, 0]
    assert "put_" in caplog.text and "slightly different" in caplog.text


def test_other_errors_are_no_matter_of_kernels():
    def fails(_: Tier) -> None:
        raise RuntimeError("shapes do not fit")

    with repeatable(), pytest.raises(RuntimeError, match="shapes do not fit"):
        Plan([Tier()]).attempt(fails)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="kernels of a GPU")
def test_convolutions_of_single_precision_are_exact():
    x, weight = torch.randn(1, 256, 32, 32, device=CUDA), torch.randn(64, 256, 3, 3, device=CUDA)
    exact = torch.nn.functional.conv2d(x.double(), weight.double())
    with exact_kernels(CUDA):
        error = (torch.nn.functional.conv2d(x, weight) - exact).abs().max() / exact.abs().max()
    assert error < 1e-5
