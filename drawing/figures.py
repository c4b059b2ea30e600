"""What the pictures of the help pages show: each node at work on a sample photo, with the embedded prior."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from . import gallery, samples, thumbnails
from .sheet import PAPER

SIDE = thumbnails.SIDE
JOBS = ("Sharpen a blurry photo", "Enlarge a small photo", "Erase something")

Panels = dict[str, Image.Image | torch.Tensor]
"""Pictures, or ComfyUI's IMAGEs and MASKs of one, by their captions"""


def pillow(picture: Image.Image | torch.Tensor) -> Image.Image:
    """An IMAGE or MASK of one as a picture."""
    if isinstance(picture, Image.Image):
        return picture
    array = (picture[0].clamp(0, 1) * 255).round().byte().cpu().numpy()
    return Image.fromarray(array).convert("RGB")


def tensor(picture: Image.Image) -> torch.Tensor:
    """A picture as ComfyUI's IMAGE of one."""
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)[None]


def halves(template: str, before: str, after: str) -> Panels:
    """Both halves of a template's thumbnail."""
    with Image.open(thumbnails.FOLDER / f"{template} ({thumbnails.TWIN}).jpg") as file:
        pair = file.convert("RGB")
    left, right = (0, 0, SIDE, SIDE), (pair.width - SIDE, 0, pair.width, SIDE)
    return {before: pair.crop(left), after: pair.crop(right)}


@torch.inference_mode()
def call(node: str, **inputs: Any) -> tuple[Any, ...]:
    """What one of our nodes puts out, its other inputs left at their defaults."""
    return gallery.node_class(node).execute(**gallery.defaults(node) | inputs).args


@cache
def prior() -> tuple[Any, Any, Any]:
    """The embedded prior: MODEL, VAE and CONDITIONING."""
    return call("LoadLDM")


def restored(measurement: Any, **settings: Any) -> tuple[Any, ...]:
    """LATENT, IMAGE and report of PSLD KSampler."""
    model, vae, _ = prior()
    return call("KSampler", model=model, vae=vae, measurement=measurement, **settings)


@torch.inference_mode()
def sampled(latent: dict[str, Any], seed: int) -> torch.Tensor:
    """What ComfyUI's own KSampler draws."""
    import nodes

    model, vae, text = prior()
    settings = {"cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "positive": text, "negative": text}
    (drawn,) = nodes.common_ksampler(model, seed, 20, latent=latent, **settings)
    return vae.decode(drawn["samples"])


def photo(kind: str) -> Image.Image:
    """A sample photo for the embedded prior."""
    with Image.open(samples.FOLDER / samples.sample("ldm", kind)) as file:
        return file.convert("RGBA" if kind == "hole" else "RGB")


def white(picture: Image.Image) -> Image.Image:
    """Its transparent part white."""
    paper = Image.new("RGBA", picture.size, PAPER)
    paper.alpha_composite(picture)
    return paper.convert("RGB")


def load_ldm() -> Panels:
    """Four hands that the embedded prior dreams of."""
    (latent,) = call("EmptyLatent", vae=prior()[1], batch_size=4)
    return {f"sample {i + 1} of the prior": one[None] for i, one in enumerate(sampled(latent, seed=1))}


def empty_latent() -> Panels:
    """What 64 x 64 means to either node."""
    import nodes

    (ours,) = call("EmptyLatent", vae=prior()[1])
    (stock,) = nodes.EmptyLatentImage().generate(64, 64)
    stock["samples"] = stock["samples"][:, : ours["samples"].shape[1]]
    shown = {"Empty Latent (LDM), 64 x 64": sampled(ours, seed=2), "Empty Latent Image, 64 x 64": sampled(stock, 2)}
    return {caption: beside_itself(picture) for caption, picture in shown.items()}


def beside_itself(picture: torch.Tensor) -> Image.Image:
    """A picture of up to 64 pixels at the scale of one that has 64."""
    paper, small = Image.new("RGB", (64, 64), PAPER), pillow(picture)
    paper.paste(small, ((64 - small.width) // 2, (64 - small.height) // 2))
    return paper


def blurred_measurement() -> tuple[Any, Any]:
    """A hand out of focus: the measurement and its picture."""
    (blur,) = call("GaussianBlur", sigma=1.5, kernel_size=13)
    return call("Measure", image=tensor(photo("clean")), operator=blur)


def measure() -> Panels:
    """Before and after."""
    return {"image": photo("clean"), "blurred, with noise of 0.05": blurred_measurement()[1]}


def view_measurement() -> Panels:
    """What the measurement alone says."""
    measurement, picture = blurred_measurement()
    views = ("pseudo-inverse", "adjoint")
    seen = {view: call("ViewMeasurement", measurement=measurement, view=view)[0] for view in views}
    return {"measurement": picture, **seen}


def apply_operator() -> Panels:
    """There and back."""
    (operator,) = call("SuperResolution")
    (small,) = call("ApplyOperator", image=tensor(photo("clean")), operator=operator, call="forward")
    (back,) = call("ApplyOperator", image=small, operator=operator, call="pseudo-inverse")
    return {"forward": small, "pseudo-inverse of that": back}


def hole() -> tuple[torch.Tensor, torch.Tensor, Any]:
    """A hand with a hole: IMAGE, MASK and measurement."""
    rgba = tensor(photo("hole"))
    image, mask = rgba[..., :3], 1 - rgba[..., 3]
    (operator,) = call("InpaintMask", mask=mask)
    return image, mask, call("MeasurementFromImage", image=image, operator=operator, sigma=0.02)[0]


def data_consistency() -> Panels:
    """What the sampler leaves of the known pixels, and what of them is right afterwards."""
    image, mask, measurement = hole()
    result = restored(measurement, keep_measured=False)[1]
    (exact,) = call("DataConsistency", image=result, measurement=measurement)
    known = 1 - mask[..., None]
    return {
        "photo": white(photo("hole")),
        "after Data Consistency": exact,
        "known pixels off before, x 8": 8 * known * (result - image).abs(),
        "after: none": 8 * known * (exact - image).abs(),
    }


def estimate_blur() -> Panels:
    """A blurred photo and the kernel that is found."""
    model, vae, _ = prior()
    _, kernel, text = call("EstimateBlur", image=tensor(photo("blurred")), model=model, vae=vae)
    return {"photo": photo("blurred"), text.split(";")[0].split("\n")[0][:32]: kernel}


def find_lines() -> Panels:
    """Scratches and their mask."""
    return {"photo": photo("scratched"), "mask": call("FindLines", image=tensor(photo("scratched")), grow=0)[0]}


def large_photo() -> tuple[torch.Tensor, torch.Tensor]:
    """A photo of several hands at the prior's scale, and a mask on a finger."""
    with Image.open(samples.CLEAN / samples.PHOTOS["sd15"].file) as file:
        hands = file.convert("RGB").resize((341, 341), Image.Resampling.BOX).crop((125, 0, 253, 128))
    mask = Image.new("L", hands.size)
    ImageDraw.Draw(mask).ellipse((52, 8, 72, 34), fill=255)
    return tensor(hands), tensor(mask)


def window() -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Image, mask and fit of a window of the prior's size."""
    image, mask = large_photo()
    around = {"method": "around mask", "size": 64, "margin": 8, "mask": mask}
    images, masks, windows = call("FitToModel", image=image, vae=prior()[1], **around)
    return images[0], masks[0], windows[0]


def painted(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """A photo whose masked part is red."""
    return torch.where(mask[..., None] > 0, torch.tensor([0.9, 0.1, 0.1]), image)


def fit_to_model() -> Panels:
    """The window around a mask."""
    fitted, marked, _ = window()
    return {"photo, 128 x 128, and mask": painted(*large_photo()), "around mask, 64 x 64": painted(fitted, marked)}


def undo_fit() -> Panels:
    """The window back in its photo."""
    (image, mask), (fitted, marked, fit) = large_photo(), window()
    (operator,) = call("InpaintMask", mask=marked)
    measurement = call("MeasurementFromImage", image=fitted, operator=operator, sigma=0.02)[0]
    result = restored(measurement)[1]
    lists = {"image": [result], "photo": [image], "fit": [fit], "mask": [mask]}  # as ComfyUI hands them to it
    (whole,) = call("UndoFit", **lists, **{name: [0] for name in ("feather", "threshold", "grow")})
    return {"restored, 64 x 64": result, "in the photo, 128 x 128": whole[0]}


def load_jpeg() -> Panels:
    """A JPEG that shows its blocks, and what fits it."""
    import folder_paths

    with tempfile.NamedTemporaryFile(dir=folder_paths.get_input_directory(), suffix=".jpg") as file:
        photo("clean").save(file.name, quality=20)
        measurement, _, shown, _ = call("LoadJPEG", image=Path(file.name).name)
    return {"JPEG of quality 20": shown, "restored": restored(measurement)[1]}


def image_metrics() -> Panels:
    """Two pictures and their numbers."""
    measurement, _ = blurred_measurement()
    result = restored(measurement)[1]
    psnr, ssim = call("ImageMetrics", image=result, reference=tensor(photo("clean")))[:2]
    return {"reference": photo("clean"), f"PSNR {psnr:.1f} dB, SSIM {ssim:.2f}": result}


def restore_photo() -> Panels:
    """Three jobs, before and after."""

    def pairs() -> Iterator[tuple[str, Image.Image]]:
        for job in JOBS:
            words = job.split(" ")[0].lower()
            yield from halves(job, f"{words}: before", f"{words}: after").items()

    return dict(pairs())


def compare() -> Image.Image:
    """Both of its pictures, the sheet in two rows."""
    measurement, _ = blurred_measurement()
    _, result, report = restored(measurement)
    sheet, curve = (pillow(part) for part in call("Compare", image=result, measurement=measurement, report=report)[:2])
    middle = sheet.width // 2
    parts = [sheet.crop((0, 0, middle, sheet.height)), sheet.crop((middle, 0, sheet.width, sheet.height)), curve]
    page = Image.new("RGB", (middle, sum(part.height for part in parts)), PAPER)
    for number, part in enumerate(parts):
        page.paste(part, (0, sum(above.height for above in parts[:number])))
    return page.resize((page.width * 3 // 4, page.height * 3 // 4), Image.Resampling.LANCZOS)


FIGURES: dict[str, Callable[[], Panels | Image.Image]] = {
    "ApplyOperator": apply_operator,
    "Compare": compare,
    "DataConsistency": data_consistency,
    "EmptyLatent": empty_latent,
    "EstimateBlur": estimate_blur,
    "FindLines": find_lines,
    "FitToModel": fit_to_model,
    "ImageMetrics": image_metrics,
    "KSampler": partial(halves, "Try it - Gaussian deblur", "measurement", "restored"),
    "LoadJPEG": load_jpeg,
    "LoadLDM": load_ldm,
    "Measure": measure,
    "MeasurementFromImage": partial(halves, "Enlarge a small photo", "your photo, 16 x 16", "restored, 64 x 64"),
    "RestorePhoto": restore_photo,
    "Sampler": partial(halves, "Try it - random inpainting", "measurement", "restored"),
    "UndoFit": undo_fit,
    "ViewMeasurement": view_measurement,
}
"""By node; operators have their pictures from the gallery"""
