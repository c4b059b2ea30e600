"""JPEG as a measurement, against Pillow: the projection onto what a file allows, and files as people have them."""

from __future__ import annotations

import io as files
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from psld import operators as ops
from psld.nodes.jpeg import load
from psld.operators.jpeg import JPEG
from psld.operators.measurement import Measurement
from psld.tests.prompts import call, node
from psld.tests.test_photo import EMBEDDED


def photo(height: int, width: int) -> Image.Image:
    """Shading, an edge in colour, and some texture, away from black and white."""
    y, x = np.mgrid[:height, :width] / 40
    waves = [np.sin(3 * x + y), np.cos(2 * y - x), np.sin(x * y) * (x > y)]
    noise = np.random.default_rng(0).normal(0, 6, (height, width, 3))
    return Image.fromarray((128 + 60 * np.stack(waves, -1) + noise).clip(30, 225).astype(np.uint8))


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].double() / 127.5 - 1


def saved(image: Image.Image, **settings) -> Image.Image:
    """As Pillow saves and opens it."""
    file = files.BytesIO()
    image.save(file, "JPEG", **settings)
    return Image.open(file)


def picture(x: torch.Tensor) -> Image.Image:
    levels = ((x[0].clamp(-1, 1) + 1) * 127.5).round().byte()
    return Image.fromarray(levels.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("quality", [5, 20, 50])
@pytest.mark.parametrize(("sampling", "halved"), [(0, (1, 1)), (1, (1, 2)), (2, (2, 2))])
def test_the_photo_is_in_the_set_that_its_file_allows_and_a_projection_is_saved_as_that_file(quality, sampling, halved):
    original = photo(64, 96)
    file = saved(original, quality=quality, subsampling=sampling)
    A = JPEG((3, 64, 96), tables=[list(t) for t in file.quantization.values()], subsample=halved)
    y = pixels(file)
    assert float(A.kept(pixels(original), y)) > 0.995, "Pillow rounds the photo's coefficients as we do"
    other = pixels(original.rotate(2))
    projected = A.project(other, y)
    assert float(A.kept(other, y)) < 0.999 and float(A.kept(projected, y)) == 1
    torch.testing.assert_close(A.project(projected, y), projected, atol=1e-9, rtol=0)
    again = saved(picture(projected), qtables=file.quantization, subsampling=sampling)
    assert float(A.kept(pixels(again), y)) > 0.97, "of what Pillow encodes, after 8 bits"


def test_the_projection_of_luma_is_the_nearest_image_of_the_set():
    """In grey there is one orthonormal transform: no other image of the set is nearer."""
    A = JPEG((1, 16, 24), quality=10)
    x, y = torch.rand(2, 1, 1, 16, 24, dtype=torch.float64) * 1.2 - 0.6
    y = A(y)
    nearest = A.project(x, y)
    for step in (0.01, 0.3, 1.0):
        other = A.project(nearest + step * torch.randn_like(x), y)
        assert ((x - nearest) * (other - nearest)).sum() < 1e-9
    torch.testing.assert_close(A.prox(x, y, 1e9), nearest)


@pytest.mark.parametrize("t", [0.5, 100.0])
def test_a_smaller_photo_that_was_compressed_is_fitted_through_both(t):
    A = ops.Compose((3, 64, 64), [partial(ops.SuperResolution, factor=2), partial(JPEG, quality=20)])
    truth, x = pixels(photo(64, 64)), pixels(photo(64, 64).rotate(3))
    measurement = Measurement(A(truth), A, 0.02)
    before, after = measurement.rms_residual(x), measurement.rms_residual(A.prox(x, measurement.y, t))
    assert not A.linear and A.proximal and after < (0.95 if t < 1 else 0.1) * before
    assert measurement.rms_residual(truth) < 0.01


def test_a_jpeg_of_any_size_is_restored_within_what_it_allows(run_prompt, comfy_base):
    photo(45, 70).save(comfy_base / "input" / "coarse.jpg", quality=10)
    prompt = {
        "jpeg": node("PSLD_LoadJPEG", image="coarse.jpg", sigma=0.02),
        "prior": node("PSLD_LoadLDM", ckpt_name=EMBEDDED),
        "sampler": node("PSLD_KSampler", model=["prior", 0], vae=["prior", 1], measurement=["jpeg", 0], seed=1, steps=2,
                        cfg=1.0, scheduler="karras", gamma=-1.0, omega=-1.0, method="Glued MAP"),
        "consistent": node("PSLD_DataConsistency", image=["sampler", 1], measurement=["jpeg", 0], method="exact",
                           rcond=0.1, error=0.1),
        "undo": node("PSLD_UndoFit", image=["consistent", 0], photo=["jpeg", 2], fit=["jpeg", 3]),
        "save": node("SaveImage", images=["undo", 0], filename_prefix="fixed_jpeg"),
    }  # fmt: skip
    outputs = run_prompt(prompt)
    measurement = outputs["jpeg"][0]
    restored = outputs["consistent"][0].movedim(-1, 1) * 2 - 1
    assert measurement.y.shape == (1, 3, 48, 80) and outputs["undo"][0].shape == (1, 45, 70, 3)
    assert float(measurement.operator.kept(restored, measurement.y)) > 0.99
    assert not torch.equal(outputs["undo"][0], outputs["jpeg"][2])
    prompt["sampler"]["inputs"]["method"] = "Proximal gluing"
    assert run_prompt(prompt)["sampler"][1].isfinite().all()


@pytest.mark.parametrize(
    ("name", "message", "save"),
    [
        ("png.jpg", "png.jpg is a PNG, no JPEG", lambda f: photo(16, 16).save(f, "PNG")),
        ("text.jpg", "text.jpg cannot be read as a picture", lambda f: f.write_text("no picture")),
        ("cmyk.jpg", "holds CMYK colours", lambda f: photo(16, 16).convert("CMYK").save(f)),
        ("turned.jpg", "is stored turned", lambda f: photo(16, 16).save(f, exif=turned(6))),
    ],
)
def test_what_is_no_upright_jpeg_is_refused_with_a_sentence(tmp_path, name, message, save):
    save(tmp_path / name)
    with pytest.raises(ValueError, match=f"image: {name} .*{message.removeprefix(name).strip()}"):
        load(tmp_path / name)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def test_a_grey_jpeg_is_read_too(comfy_base):
    photo(32, 32).convert("L").save(comfy_base / "input" / "grey.jpg", quality=20)
    measurement, _, image, _ = call("LoadJPEG", image="grey.jpg", sigma=0.02)
    assert image.shape == (1, 32, 32, 3) and measurement.operator.halved == (1, 1)
    assert float(measurement.rms_residual(measurement.y)) < 1e-6
