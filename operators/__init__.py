"""Forward operators A with adjoint and pseudo-inverse: pure torch, no ComfyUI."""

from .base import DEFAULT_RCOND, LinearOperator, Operator, SpectralOperator
from .blur import AnisotropicBlur, Blur, DefocusBlur, GaussianBlur, LineBlur, MotionBlur, UniformBlur
from .masks import Denoise, Identity, InpaintBox, InpaintMask, InpaintRandom
from .noise import (
    GaussianNoise,
    NoiseModel,
    NoNoise,
    PoissonNoise,
    SaltAndPepperNoise,
    SpeckleNoise,
    estimate_sigma,
)
from .resize import SuperResolution

__all__ = [
    "AnisotropicBlur",
    "Blur",
    "DEFAULT_RCOND",
    "DefocusBlur",
    "Denoise",
    "GaussianBlur",
    "GaussianNoise",
    "Identity",
    "InpaintBox",
    "InpaintMask",
    "InpaintRandom",
    "LineBlur",
    "LinearOperator",
    "MotionBlur",
    "NoNoise",
    "NoiseModel",
    "Operator",
    "PoissonNoise",
    "SaltAndPepperNoise",
    "SpeckleNoise",
    "SpectralOperator",
    "SuperResolution",
    "UniformBlur",
    "estimate_sigma",
]
