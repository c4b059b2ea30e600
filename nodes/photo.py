"""Menu group "photo": a photo of any size for a model that is particular about sizes, and the lines that spoil it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from comfy_api.latest import io
from torch import Tensor

from ..operators import fit as fits
from ..operators.lines import TONES, find_lines
from ..runtime.codec import spatial_factor
from .masks import PAINTED, nothing_painted, painting_inputs, photo_mask
from .types import CATEGORY, FitIO, check_choice, check_image, warn_of_white

FITS = ("pad", "crop", "around mask", "around each hole")


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
                io.Image.Input("image", tooltip="The photo, of any size."),
                io.Vae.Input("vae", tooltip="The VAE that will restore the photo: it says which sizes it takes."),
                io.Combo.Input(
                    "method",
                    options=list(FITS),
                    default="pad",
                    tooltip="pad: mirrors the photo beyond its border. crop: cuts the border off, which Undo Fit takes "
                    "from the photo again. around mask: only the surroundings of what is masked. around each hole: "
                    "the same, with a window of its own for each hole that lies apart.",
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
                    tooltip="Only around mask or hole: the least width and height, in pixels of the photo. "
                    "Best what the model was trained on.",
                ),
                io.Int.Input(
                    "margin",
                    default=32,
                    min=0,
                    max=8192,
                    tooltip="Only around mask or hole: how many pixels around the masked ones the model sees at least.",
                ),
                io.Mask.Input("mask", optional=True, tooltip="1 (painted or transparent) = to restore."),
                *painting_inputs(),
            ],
            outputs=[
                io.Image.Output(display_name="image", is_output_list=True),
                io.Mask.Output(
                    display_name="mask",
                    is_output_list=True,
                    tooltip="What is painted, fitted alike; padding is marked as to restore.",
                ),
                FitIO.Output(display_name="fit", is_output_list=True),
            ],
        )

    @classmethod
    def execute(cls, image, vae, method, factor, size, margin, mask=None, threshold=PAINTED, grow=0) -> io.NodeOutput:
        check_image(image)
        check_choice("method", method, FITS)
        marked = photo_mask(image, mask, threshold, grow)
        if method.startswith("around") and not marked.any():
            reason = "no mask is connected" if mask is None else nothing_painted(mask, threshold)
            raise ValueError(f"mask: {reason}, and marks nothing to fit around; paint what to restore, or choose pad.")
        windows = fits_of(marked, method, size, margin, *fits.least_multiple(spatial_factor(vae), factor))
        images, masks = zip(*(fitted(image, marked, fit) for fit in windows), strict=True)
        return io.NodeOutput(list(images), list(masks), windows)


class UndoFit(io.ComfyNode):
    """Puts what was restored back into the photo, at its own size."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PSLD_UndoFit",
            display_name="Undo Fit",
            category=f"{CATEGORY}/photo",
            description="Takes the padding off again, or puts the restored part back into the photo.",
            is_input_list=True,
            inputs=[
                io.Image.Input("image", tooltip="The restored image, as large as the fitted one, or enlarged."),
                io.Image.Input(
                    "photo", tooltip="The photo as it went into Fit to Model. Its transparency, if any, is kept."
                ),
                FitIO.Input("fit", tooltip="From Fit to Model."),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="The mask as it went into Fit to Model: only what is painted is replaced, to the bit. "
                    "Without one, all that the model saw.",
                ),
                io.Int.Input(
                    "feather",
                    default=0,
                    min=0,
                    max=512,
                    optional=True,
                    tooltip="Only with a mask: so many pixels around the painted ones go over into the photo, which "
                    "hides a seam. 0 keeps every one of them.",
                ),
                *painting_inputs(),
            ],
            outputs=[io.Image.Output(display_name="image", is_output_list=True)],
        )

    @classmethod
    def execute(cls, image, photo, fit, mask=(None,), feather=(0,), threshold=(PAINTED,), grow=(0,)) -> io.NodeOutput:
        """Lists, as ComfyUI hands them out: of each photo, as many images and fits as it has windows."""
        wholes, done, images = [], 0, max(len(image), len(fit))
        while done < images:
            part = range(done, done + nth(fit, done).windows)
            if part.stop > images:
                raise ValueError(
                    f"image: {images - done} windows of a photo are connected, but Fit to Model made {len(part)}; "
                    "connect all that was restored from them."
                )
            i, done = len(wholes), part.stop
            painting = (nth(mask, i), nth(threshold, i), nth(grow, i))
            windows = [(nth(image, j), nth(fit, j)) for j in part]
            wholes.append(stitched(nth(photo, i), windows, *painting, nth(feather, i)))
        return io.NodeOutput(wholes)


class FindLines(io.ComfyNode):
    """Marks scratches and stripes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PSLD_FindLines",
            display_name="Find Scratches",
            category=f"{CATEGORY}/photo",
            description="A mask of the scratches, stripes or dust of a photo, for Inpaint Mask.",
            inputs=[
                io.Image.Input("image", tooltip="The photo, or several."),
                io.Combo.Input(
                    "tone",
                    options=list(TONES),
                    default="both",
                    tooltip="Which lines: near-black, near-white, or both. any: also lines of one colour, whatever it "
                    "is. dust: small spots in place of lines.",
                ),
                io.Float.Input(
                    "threshold",
                    default=0.08,
                    min=0.0,
                    max=0.5,
                    step=0.01,
                    tooltip="How far from black or white a line may be; 0 to 1 is black to white. any, dust: also how "
                    "much lines or spots have to stand out.",
                ),
                io.Int.Input(
                    "max_width",
                    default=6,
                    min=1,
                    max=256,
                    tooltip="In pixels, of lines or spots. Areas more than twice as wide are part of the picture.",
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
        warn_of_white(image)
        check_choice("tone", tone, TONES)
        pixels = image.movedim(-1, 1).float().cpu()
        return io.NodeOutput(find_lines(pixels, tone, threshold, max_width, min_length, grow).float())


def fitted(image: Tensor, marked: Tensor, fit: fits.Fit) -> tuple[Tensor, Tensor]:
    """The window of a photo (IMAGE) and of what is to be restored (B, H, W; bool), as MASK: padding is too."""
    window = fit.apply(image.movedim(-1, 1)).movedim(1, -1).contiguous()
    return window, fit.apply(marked).logical_or(fit.padding()).float()


def fits_of(mask: Tensor, method: str, size: int, margin: int, multiple: int, align: int) -> list[fits.Fit]:
    """The windows of a photo whose painted area (B, H, W; bool) is given."""
    height, width = mask.shape[1:]
    if method == "around each hole":
        return fits.around_each(mask.any(0), margin, size, multiple, align)
    if method == "around mask":
        return [fits.around(mask.any(0), margin, size, multiple, align)]
    if method == "pad":
        return [fits.pad((height, width), multiple, align)]
    if min(height, width) < multiple:
        raise ValueError(
            f"image: its {width} x {height} pixels are fewer than the multiple of {multiple} that the "
            "model takes, so it cannot be cropped; choose pad."
        )
    return [fits.crop((height, width), multiple, align)]


def stitched(
    photo: Tensor,
    windows: Sequence[tuple[Tensor, fits.Fit]],
    mask: Tensor | None = None,
    threshold: float = PAINTED,
    grow: int = 0,
    feather: int = 0,
) -> Tensor:
    """A photo (B, H, W, C) with its restored windows in place; where a mask is given, only what it marks."""
    whole = before = None
    for image, fit in windows:
        colours, alpha = check_restored(image, photo, fit)
        factor = fit.factor(image.movedim(-1, 1))
        if whole is None:
            before = colours.movedim(-1, 1).float().expand(len(image), -1, -1, -1)
            before = before if factor == 1 else fits.enlarge(before, factor)
            whole = before
        whole = fit.undo(image.movedim(-1, 1).to(whole), whole)
    if mask is not None:
        whole = fits.blend(before, whole, photo_mask(photo, mask, threshold, grow), feather)
    whole = whole.movedim(1, -1).contiguous()
    if alpha is None:
        return whole
    alpha = alpha.movedim(-1, 1).float()
    alpha = alpha if factor == 1 else fits.enlarge(alpha, factor)
    return torch.cat((whole, alpha.movedim(1, -1).expand(len(whole), -1, -1, -1)), -1)


def check_restored(image: Tensor, photo: Tensor, fit: fits.Fit) -> tuple[Tensor, Tensor | None]:
    """The photo's colours and its alpha, if any. ValueError where photo, image and fit do not belong together."""
    colours, alpha = (photo[..., :3], photo[..., 3:]) if photo.ndim == 4 and photo.shape[-1] == 4 else (photo, None)
    check_image(image)
    check_image(colours, "photo")
    if tuple(photo.shape[1:3]) != fit.size:
        raise ValueError(
            f"photo: it is {photo.shape[2]} x {photo.shape[1]}, but a photo of {fit.size[1]} x {fit.size[0]} went "
            "into Fit to Model; connect that one."
        )
    if len(photo) not in (1, len(image)) or colours.shape[3] != image.shape[3]:
        raise ValueError(
            f"photo: its batch and channels are {len(photo)} and {colours.shape[3]}, the restored image's "
            f"{len(image)} and {image.shape[3]}; connect the photo that was restored."
        )
    try:
        fit.factor(image.movedim(-1, 1))
    except ValueError as error:
        raise ValueError(f"image: {error}; connect what was restored from the fitted image.") from error
    return colours, alpha


def nth(values: Sequence, i: int):
    """The i-th of a list, or its last one, as ComfyUI goes through lists of different lengths."""
    return values[min(i, len(values) - 1)]


NODES = [FitToModel, UndoFit, FindLines]
