"""Menu group "measurement": the blur of a photo that nobody measured."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import VAE
from comfy_api.latest import io
from torch import Tensor

from ..operators import SuperResolution, estimate_sigma
from ..operators.blur_search import KINDS, MOTION, find_blur_of, line_of
from ..operators.kernel_search import AnyBlur, Expected, KernelGuess, find_kernel, smaller
from ..operators.measurement import Measurement
from ..operators.watched import Watched
from ..runtime.codec import spatial_factor
from ..runtime.conditioning import Conditioning, empty_conditioning, is_unconditional
from ..runtime.levels import AUTO
from .measurement import ESTIMATE
from .sampling import restore
from .types import CATEGORY, Operator, check_choice, pixels_from_image, seed_input

METHOD = "Proximal gluing"
FREE = "free"
"""The kind that is not told by a number or two."""
LEAST_SIGMA = 0.005
LEAST_PICTURE = 8


class EstimateBlur(io.ComfyNode):
    """Finds the blur under which the model is the least surprised by the photo."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PSLD_EstimateBlur",
            display_name="Estimate Blur",
            category=f"{CATEGORY}/measurement",
            description="How a photo was blurred: of blurs of one kind, the one under which the model has the least to "
            "correct. Connect it to Measurement from Image.",
            inputs=[
                io.Image.Input(
                    "image", tooltip="The blurred photo; one, of a size that the model takes (Fit to Model)."
                ),
                io.Model.Input("model", tooltip="The model that will restore the photo."),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model."),
                io.Combo.Input(
                    "kind",
                    options=[*KINDS, FREE],
                    default=KINDS[0],
                    tooltip="Gaussian: a little unsharp. defocus: a lens out of focus, points are discs. motion: a "
                    "straight shake, points are lines. free: any shape, such as a crooked shake.",
                ),
                io.Int.Input(
                    "largest",
                    default=15,
                    min=3,
                    max=255,
                    tooltip="The widest blur to think of: side of its kernel, in pixels.",
                ),
                io.Float.Input(
                    "sigma",
                    default=ESTIMATE,
                    min=ESTIMATE,
                    max=2.0,
                    step=0.005,
                    tooltip="Noise of the photo, in [-1, 1] pixel units. -1: estimated from it.",
                ),
                io.Int.Input(
                    "steps",
                    default=10,
                    min=4,
                    max=100,
                    tooltip="Of the model, for each blur that is tried (about 15; motion and free: 7).",
                ),
                seed_input("Of the noise, the same for all blurs."),
                io.Conditioning.Input("positive", optional=True, tooltip="What the photo shows. Not needed."),
                io.Int.Input(
                    "factor",
                    default=1,
                    min=1,
                    max=16,
                    optional=True,
                    tooltip="For a small photo to be enlarged: how many times larger the restored one will be. The "
                    "blur is then that of the large photo, before it became small. 1: not to be enlarged.",
                ),
            ],
            outputs=[
                Operator.Output(display_name="operator"),
                io.Image.Output(display_name="kernel", tooltip="What a point became."),
                io.String.Output(display_name="found", tooltip="The blur in words."),
            ],
        )

    @classmethod
    def execute(cls, image, model, vae, kind, largest, sigma, steps, seed, positive=None, factor=1) -> io.NodeOutput:
        check_choice("kind", kind, [*KINDS, FREE])
        found = estimated_blur(image, model, vae, [kind], largest, sigma, steps, seed, positive, factor)
        size = 2 * max(widest(image, largest, factor), LEAST_PICTURE) + 1
        whole = found if factor == 1 else smaller(found, factor)
        return io.NodeOutput(whole.maker, point_spread(found, size), str(whole))


def estimated_blur(
    image: Tensor,
    model: ModelPatcher,
    vae: VAE,
    kinds: Sequence[str],
    largest: int,
    sigma: float,
    steps: int,
    seed: int,
    positive: Conditioning | None,
    factor: int = 1,
) -> AnyBlur:
    """The blur of a photo (IMAGE) under which the model is the least surprised, of these kinds; see the node's inputs.

    factor: how many times smaller the photo became after the blur, which is in pixels of before.

    MOTION, the line of a kernel of any shape, and FREE stand by themselves. ValueError, naming the input, for a batch
    and for a photo that is too small.
    """
    if len(image) > 1:
        raise ValueError(f"image: it is a batch of {len(image)}; connect one photo, or a list of them.")
    with torch.inference_mode(False), torch.no_grad():
        y = pixels_from_image(image).expand(-1, 3, -1, -1)
        y = whole_latents(y, spatial_factor(vae), factor)
    shape = (3, *(factor * n for n in y.shape[-2:]))
    sigma = max(float(estimate_sigma(y)) if sigma == ESTIMATE else sigma, LEAST_SIGMA)
    if positive is None and not is_unconditional(model):
        positive = empty_conditioning(model)

    def watched(guess: AnyBlur, seed: int, sigma: float, keep: bool = False) -> Watched:
        """The operator of a guess, after a short run with it."""
        with torch.inference_mode(False):
            maker = guess.maker if factor == 1 else smaller(guess, factor).maker
            operator = Watched(maker(shape), sigma, keep)
            measurement = Measurement(y, operator, sigma)
        settings, prompts = {"candidates": 1}, (positive, None, 1.0)
        with torch.inference_mode():  # as in the executor: models are loaded the same way
            restore(model, vae, measurement, seed, METHOD, settings, (AUTO, steps), prompts, keep_measured=False)
        return operator

    def expect(guess: KernelGuess, i: int, doubt: float) -> Expected:
        seen = watched(guess, seed + i, math.hypot(sigma, doubt), keep=True).seen
        return [(x.to(model.load_device), spread) for x, spread in seen]

    if FREE in kinds or MOTION in kinds:
        with torch.inference_mode(False), torch.no_grad():
            then = SuperResolution(shape, factor) if factor > 1 else None
            found = find_kernel(y, widest(image, largest, factor), expect, then)
            return line_of(found.kernel) if MOTION in kinds else found
    return find_blur_of(kinds, widest(image, largest, factor), lambda guess: watched(guess, seed, sigma).surprise)


def widest(image: Tensor, largest: int, factor: int) -> int:
    """The side of the widest kernel that is tried on a photo (IMAGE) that became so many times smaller."""
    return min(largest, factor * min(image.shape[1:3]) // 2)


def whole_latents(y: Tensor, pixels: int, factor: int) -> Tensor:
    """The middle of a photo (B, C, H, W) that, `factor` times larger, has sides of whole latents of so many pixels.

    ValueError where there is none.
    """
    step = pixels // math.gcd(pixels, factor)
    height, width = (n // step * step for n in y.shape[-2:])
    if min(height, width) < 2 * step:
        raise ValueError(f"image: it is {y.shape[3]} x {y.shape[2]}, too small to tell a blur; connect a larger photo.")
    top, left = (y.shape[-2] - height) // 2, (y.shape[-1] - width) // 2
    return y[..., top : top + height, left : left + width]


def point_spread(guess: AnyBlur, size: int) -> Tensor:
    """A picture (1, n, n, 3) of what a white point becomes, the brightest value white."""
    size = size // 2 * 2 + 1
    point = torch.zeros(1, 1, size, size)
    point[..., size // 2, size // 2] = 1
    blurred = guess.maker((1, size, size))(point)
    return (blurred / blurred.max()).clamp(0, 1).movedim(1, -1).expand(-1, -1, -1, 3).contiguous()


NODES = [EstimateBlur]
