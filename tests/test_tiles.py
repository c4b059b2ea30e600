"""The VAE in tiles: what a local network gives for the whole picture, and no seam where it is not local."""

from __future__ import annotations

import pytest
import torch
from psld.nodes.loading import EMBEDDED, checkpoint_path
from psld.runtime import tiles
from psld.runtime.autograd import differentiable
from psld.runtime.ldm import load_ldm
from psld.runtime.ldm.tiny import TinyAutoencoder
from psld.training.networks import initialised


@pytest.fixture(scope="module")
def tiny():
    """An autoencoder of the TAESD family: convolutions, and nothing that sees further."""
    torch.manual_seed(0)
    return initialised(TinyAutoencoder(embed_dim=4, width=8)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def prior():
    """The embedded prior's first stage: GroupNorm everywhere, and attention in the middle."""
    return load_ldm(checkpoint_path(EMBEDDED + "hands64.safetensors"))[1].first_stage_model


def smooth(*shape: int) -> torch.Tensor:
    """A random picture in [-1, 1] with shapes of about 20 pixels."""
    coarse = torch.randn(1, 3, shape[0] // 20 + 2, shape[1] // 20 + 2)
    return torch.nn.functional.interpolate(coarse, size=shape, mode="bicubic").tanh()


@pytest.mark.slow
def test_a_local_network_is_exact_to_rounding(tiny):
    x = smooth(1024, 640)
    z = tiny.encode(x)
    encode = tiles.TiledCoder(tiny, tiny.encode, (8, 1), tile=96)
    decode = tiles.TiledCoder(tiny, tiny.decode, (1, 8), tile=96)
    torch.testing.assert_close(encode(x), z, atol=1e-5, rtol=1e-4)
    z.requires_grad_()
    whole, cut = tiny.decode(z), decode(z)
    assert len(decode.grid(z).windows()) == 2
    torch.testing.assert_close(cut, whole, atol=1e-5, rtol=1e-4)
    wanted = torch.randn_like(whole)
    gradients = [torch.autograd.grad(y, z, wanted)[0] for y in (cut, whole)]
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


def test_backward_keeps_the_activations_of_one_tile(tiny):
    """Autograd saves no more than what went in."""
    z = torch.randn(1, 4, 128, 96, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        tiles.TiledCoder(tiny, tiny.decode, (1, 8), tile=48)(z)
    assert kept == [z.numel()]


@pytest.mark.slow
def test_seams_do_not_show_through_group_norms(prior):
    """Tiles share their statistics: steps across their borders are as elsewhere, and nearer to the whole decoding."""
    with differentiable([prior]), torch.no_grad():
        x = smooth(320, 256)
        z = prior.encode(x)
        whole = prior.decode(z)
        decode = tiles.TiledCoder(prior, prior.decode, (1, 4), tile=32)
        cut = decode(z)
        grid = decode.grid(z).scaled(4)
        apart = tiles.blend(z, decode.grid(z), grid, lambda tile, _: prior.decode(tile))
    error, own = ((y - whole).square().mean().sqrt() for y in (cut, apart))
    assert error < 0.6 * own
    difference = (cut - whole).mean((0, 1))
    assert seam(difference, grid) < 1.1 * difference.diff(dim=1).abs().mean() + 1e-3
    assert seam(cut.mean((0, 1)), grid) < 1.1 * cut.mean((0, 1)).diff(dim=1).abs().mean()


def seam(x: torch.Tensor, grid) -> torch.Tensor:
    """Mean absolute step of x (H, W) across the middles of where tiles fade into one another, along the width."""
    borders = sorted({window.left for window in grid.windows()} - {0})
    return torch.stack([x.diff(dim=1)[:, left + grid.overlap // 2 - 1].abs().mean() for left in borders]).mean()


def test_the_norms_are_as_before(prior):
    with differentiable([prior]), torch.no_grad():
        z = torch.randn(1, 4, 40, 40)
        before = prior.decode(z)
        tiles.TiledCoder(prior, prior.decode, (1, 4), tile=24)(z)
        assert torch.equal(prior.decode(z), before)
