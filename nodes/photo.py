"""Menu group "photo": a photo of any size for a model that is particular about sizes, and the lines that spoil it."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor

from ..operators import fit as fits
from ..operators.lines import TONES, find_lines
from ..runtime.codec import spatial_factor
from .types import CATEGORY, FitIO, check_choice, check_image

FITS = ("pad", "crop", "around mask")


class FitToModel(io.ComfyNode):
    """Gives a photo a size that the VAE takes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PSLD_FitToModel",
            display_name="Fit to Model",
            category=f"{CATEGORY}/photo",
            description="Gives a photo of any size one that the model takes; Undo Fit gives it back its own.",
            inputs=[
                io.Image.Input("image"),
                io.Vae.Input("vae", tooltip="The VAE that will restore the photo: it says which sizes it takes."),
                io.Combo.Input(
                    "method",
                    options=list(FITS),
                    default="pad",
                    tooltip="pad: mirrors the photo beyond its border. crop: cuts the border off, which Undo Fit takes "
                    "from the photo again. around mask: only the surroundings of what is masked.",
                ),
                io.Float.Input(
                    "factor",
                    default=1.0,
                    min=1.0,
                    max=16.0,
                    step=0.5,
                    tooltip="For a small photo: the factor of the Super-Resolution that will enlarge it. Otherwise 1.",
                ),
                io.Int.Input(
                    "size",
                    default=512,
                    min=1,
                    max=16384,
                    tooltip="Only for around mask: the least width and height, in pixels of the photo. "
                    "Best what the model was trained on.",
                ),
                io.Int.Input(
                    "margin",
                    default=32,
                    min=0,
                    max=8192,
                    tooltip="Only for around mask: how many pixels around the masked ones the model sees at least.",
                ),
                io.Mask.Input("mask", optional=True, tooltip="1 (painted or transparent) = to restore."),
            ],
            outputs=[
                io.Image.Output(display_name="image"),
                io.Mask.Output(display_name="mask", tooltip="The mask, fitted alike; padding is marked as to restore."),
                FitIO.Output(display_name="fit"),
            ],
        )

    @classmethod
    def execute(cls, image, vae, method, factor, size, margin, mask=None) -> io.NodeOutput:
        check_image(image)
        mask = mask_of(image, mask)
        fit = fit_of(mask, method, size, margin, *fits.least_multiple(spatial_factor(vae), factor))
        return io.NodeOutput(*fitted(image, mask, fit), fit)


class UndoFit(io.ComfyNode):
    """Puts what was restored back into the photo, at its own size."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PSLD_UndoFit",
            display_name="Undo Fit",
            category=f"{CATEGORY}/photo",
            description="Takes the padding off again, or puts the restored part back into the photo.",
            inputs=[
                io.Image.Input("image", tooltip="The restored image, as large as the fitted one, or enlarged."),
                io.Image.Input("photo", tooltip="The photo as it went into Fit to Model."),
                FitIO.Input("fit"),
            ],
            outputs=[io.Image.Output(display_name="image")],
        )

    @classmethod
    def execute(cls, image, photo, fit) -> io.NodeOutput:
        check_image(image)
        check_image(photo, "photo")
        if tuple(photo.shape[1:3]) != fit.size:
            raise ValueError(
                f"photo: it is {photo.shape[2]} x {photo.shape[1]}, but a photo of {fit.size[1]} x {fit.size[0]} went "
                "into Fit to Model; connect that one."
            )
        if len(photo) not in (1, len(image)) or photo.shape[3] != image.shape[3]:
            raise ValueError(
                f"photo: its batch and channels are {len(photo)} and {photo.shape[3]}, the restored image's "
                f"{len(image)} and {image.shape[3]}; connect the photo that was restored."
            )
        try:
            return io.NodeOutput(unfitted(image, photo, fit))
        except ValueError as error:
            raise ValueError(f"image: {error}; connect what was restored from the fitted image.") from error


class FindLines(io.ComfyNode):
    """Marks scratches and stripes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PSLD_FindLines",
            display_name="Find Lines",
            category=f"{CATEGORY}/photo",
            description="A mask of the near-black or near-white scratches and stripes of a photo, for Inpaint Mask.",
            inputs=[
                io.Image.Input("image"),
                io.Combo.Input(
                    "tone", options=list(TONES), default="both", tooltip="Which lines: near-black, near-white, or both."
                ),
                io.Float.Input(
                    "threshold",
                    default=0.08,
                    min=0.0,
                    max=0.5,
                    step=0.01,
                    tooltip="How far from black or white a line may be; 0 to 1 is black to white.",
                ),
                io.Int.Input(
                    "max_width",
                    default=6,
                    min=1,
                    max=256,
                    tooltip="In pixels. Areas more than twice as wide are part of the picture.",
                ),
                io.Int.Input("min_length", default=20, min=1, max=16384, tooltip="In pixels; shorter specks stay."),
                io.Int.Input(
                    "grow",
                    default=1,
                    min=0,
                    max=64,
                    tooltip="Widens the mask by this many pixels, over blurred edges; 0 for sharp stripes.",
                ),
            ],
            outputs=[io.Mask.Output(display_name="mask", tooltip="1 = line, to restore.")],
        )

    @classmethod
    def execute(cls, image, tone, threshold, max_width, min_length, grow) -> io.NodeOutput:
        check_image(image)
        check_choice("tone", tone, TONES)
        pixels = image.movedim(-1, 1).float().cpu()
        return io.NodeOutput(find_lines(pixels, tone, threshold, max_width, min_length, grow).float())


def fitted(image: Tensor, mask: Tensor, fit: fits.Fit) -> tuple[Tensor, Tensor]:
    """The window of a photo (IMAGE) and of its mask (B, H, W), in which padding is marked as to restore."""
    window = fit.apply(image.movedim(-1, 1)).movedim(1, -1).contiguous()
    return window, fit.apply(mask).masked_fill(fit.padding(), 1.0)


def unfitted(image: Tensor, photo: Tensor, fit: fits.Fit) -> Tensor:
    """The photo (IMAGE) with its window replaced by the restored image, enlarged where that is; see `Fit.undo`."""
    photos = photo.movedim(-1, 1).expand(len(image), -1, -1, -1)
    return fit.undo(image.movedim(-1, 1), photos).movedim(1, -1).contiguous()


def fit_of(mask: Tensor, method: str, size: int, margin: int, multiple: int, align: int) -> fits.Fit:
    """The window of a photo whose mask (B, H, W) is given."""
    check_choice("method", method, FITS)
    height, width = mask.shape[1:]
    if method == "pad":
        return fits.pad((height, width), multiple, align)
    if method == "crop":
        if min(height, width) < multiple:
            raise ValueError(
                f"image: its {width} x {height} pixels are fewer than the multiple of {multiple} that the "
                "model takes, so it cannot be cropped; choose pad."
            )
        return fits.crop((height, width), multiple, align)
    if not mask.any():
        raise ValueError("mask: it marks nothing to fit around; paint what to restore, or choose pad.")
    return fits.around((mask > 0).any(0), margin, size, multiple, align)


def mask_of(image: Tensor, mask: Tensor | None) -> Tensor:
    """The mask (B, H, W) of an IMAGE; all zero where none is connected.

    Load Image hands out a small empty mask for a photo without transparency, so an empty one of any size is none.
    Raises ValueError for a mask of another size.
    """
    height, width = image.shape[1:3]
    if mask is None or not mask.any():
        return torch.zeros(1, height, width)
    mask = mask.reshape(-1, *mask.shape[-2:]).float().cpu()
    if mask.shape[1:] != (height, width):
        raise ValueError(
            f"mask: it is {mask.shape[2]} x {mask.shape[1]}, but the image is {width} x {height}; connect the mask of "
            "this image, before any resizing."
        )
    return mask


NODES = [FitToModel, UndoFit, FindLines]
