"""What can be known to be wrong before the first step, each in one sentence for the user."""

from __future__ import annotations

import comfy.ops
import torch
from comfy import latent_formats
from comfy.latent_formats import LatentFormat
from comfy.model_patcher import ModelPatcher
from comfy.sd import VAE
from torch import Tensor

from ..operators import nonlinear_part
from ..operators.measurement import Measurement
from ..solvers import METHODS, Method
from .codec import spatial_factor
from .families import check_prior, latent_dimensions


def check_pair(model: ModelPatcher, vae: VAE) -> None:
    """Model and VAE must be image models with the same kind of latent."""
    check_prior(model)
    check_vae(vae)
    latent_format = model.get_model_object("latent_format")
    if vae.latent_channels != latent_format.latent_channels or vae.latent_dim != latent_dimensions(model):
        ours, theirs = (
            f"{channels} channels{' and a frame axis' if axes == 3 else ''}"
            for channels, axes in (
                (vae.latent_channels, vae.latent_dim),
                (latent_format.latent_channels, latent_dimensions(model)),
            )
        )
        raise ValueError(
            f"vae: its latents have {ours}, but the model's have {theirs}; connect the VAE that belongs to the model "
            "(its checkpoint's own output, or the file that the model's page names)."
        )
    ours, theirs = spatial_factor(vae), factor_of(latent_format)
    if theirs not in (None, ours):
        raise ValueError(
            f"vae: a latent of it covers {ours} x {ours} pixels, but one of the model's {theirs} x {theirs}; connect "
            "the VAE that belongs to the model (its checkpoint's own output)."
        )


def factor_of(latent_format: LatentFormat) -> int | None:
    """Pixels that a latent of the model covers, along a side; None where this ComfyUI does not say."""
    if isinstance(latent_format, latent_formats.SD_X4):
        return 4  # newer versions say 8, as they do of all
    if isinstance(latent_format, latent_formats.SD15 | latent_formats.SDXL | latent_formats.SD3 | latent_formats.Flux):
        return 8
    return getattr(latent_format, "spacial_downscale_ratio", None)


def check_vae(vae: VAE) -> None:
    """There must be one, for RGB pictures, which decodes to the size that it encoded."""
    if getattr(vae, "first_stage_model", None) is None or not hasattr(vae, "patcher"):
        raise ValueError("vae: the checkpoint has none; connect Load VAE with the VAE that belongs to the model.")
    if vae.output_channels != 3:
        raise ValueError(
            f"vae: it decodes to {vae.output_channels} channels, and photos have 3; connect the model's VAE for RGB."
        )
    down, up = spatial_factor(vae), int(vae.spacial_compression_decode())
    if down != up:
        raise ValueError(
            f"vae: it makes {down} pixels one latent but one latent {up} pixels, so that no picture keeps its size; "
            "connect a VAE that decodes what it encodes."
        )


def check_draft(draft: VAE, vae: VAE, solver: Method) -> None:
    """The draft VAE must have latents like the VAE's, and the solver a use for it."""
    if not solver.takes_draft:
        able = ", ".join(name for name, method in METHODS.items() if method.takes_draft)
        raise ValueError(f"draft_vae: this method has no use for one; disconnect it, or choose one of {able}.")
    sizes = [(v.latent_dim, v.latent_channels, spatial_factor(v)) for v in (draft, vae)]
    if sizes[0] != sizes[1]:
        ours, theirs = (f"{c} channels of 1/{factor} of the side" for _, c, factor in sizes)
        raise ValueError(
            f"draft_vae: its latents have {ours}, the VAE's {theirs}; connect the small VAE of the same family "
            "(taesd for SD 1.5, taesdxl for SDXL), or none."
        )


def check_measurement(measurement: Measurement, vae: VAE, solver: Method) -> None:
    """The image behind the measurement must be one that the VAE can encode, the operator one for the solver."""
    channels, height, width = measurement.operator.image_shape
    if not solver.takes(measurement.operator):
        able = ", ".join(name for name, method in METHODS.items() if method.takes(measurement.operator))
        raise ValueError(
            f"measurement: {nonlinear_part(measurement.operator)} is not linear, and this method needs a linear "
            f"operator; choose another operator, or one of the methods {able}."
        )
    if channels != 3:
        raise ValueError(f"measurement: its image has {channels} channel(s), the VAE needs 3; measure an RGB image.")
    factor = spatial_factor(vae)
    if height % factor or width % factor:
        crop = f"{width // factor * factor} x {height // factor * factor}"
        pad = f"{-(-width // factor) * factor} x {-(-height // factor) * factor}"
        raise ValueError(
            f"measurement: its image is {width} x {height}, which is not a multiple of the VAE's {factor} pixels; "
            f"crop the image to {crop} or pad it to {pad} before measuring (Fit to Model does)."
        )
    if not torch.isfinite(measurement.y).all():
        raise ValueError("measurement: it contains NaN or infinite values; check the image it was made from.")


def latent_shape(measurement: Measurement, vae: VAE) -> tuple[int, ...]:
    """(B, c, h, w) of the latents to solve for, or (B, c, 1, h, w) where they have a frame axis."""
    _, height, width = measurement.operator.image_shape
    factor, frame = spatial_factor(vae), (1,) if vae.latent_dim == 3 else ()
    return len(measurement.y), vae.latent_channels, *frame, height // factor, width // factor


def check_latent(z: Tensor, measurement: Measurement, vae: VAE) -> None:
    """The latent a user wired into a sampler node must have the size of the image behind the measurement."""
    expected = latent_shape(measurement, vae)
    _, height, width = measurement.operator.image_shape
    if max(expected[-2:]) == 1:  # which attention on a GPU refuses
        raise ValueError(
            f"measurement: a picture of {width} x {height} pixels is a single latent of this VAE; enlarge the photo."
        )
    if tuple(z.shape) == expected:
        return
    found = "no latent of pictures"
    if z.ndim == len(expected):
        factor = spatial_factor(vae)
        found = f"for {len(z)} picture(s) of {z.shape[-1] * factor} x {z.shape[-2] * factor} pixels"
        found += f" with {z.shape[1]} channels" if z.shape[1] != expected[1] else ""
    raise ValueError(
        f"latent_image: it is {found}, but the measurement is of {expected[0]} of {width} x {height}; connect an empty "
        f"latent of that size for this VAE, with batch_size {expected[0]} (Empty Latent (LDM) makes one for any VAE)."
    )


def check_sigmas(sigmas: Tensor) -> None:
    """A schedule has at least one step, from a noise level above zero."""
    if len(sigmas) < 2 or sigmas[0] <= 0:
        steps = max(len(sigmas) - 1, 0)
        raise ValueError(f"sigmas: {steps} steps to run; choose at least 1 step (and a denoise above 0).")


def check_differentiable(model: ModelPatcher) -> None:
    """fp8 matrix multiplication has no backward."""
    fast_fp8 = getattr(comfy.ops, "fp8_ops", None)
    if fast_fp8 is not None and any(isinstance(m, fast_fp8.Linear) for m in model.model.modules()):
        raise ValueError(
            "model: it was loaded with fp8 fast matrix multiplication, which has no gradient; load it with "
            "weight_dtype default, or start ComfyUI without --fast fp8_matrix_mult."
        )
