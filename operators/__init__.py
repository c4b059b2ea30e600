"""Forward operators A with adjoint and pseudo-inverse: pure torch, no ComfyUI."""

from .base import DEFAULT_RCOND, LinearOperator, Operator, SpectralOperator
from .blur import Blur, GaussianBlur, MotionBlur
from .masks import Denoise, Identity, InpaintBox, InpaintMask, InpaintRandom
from .resize import SuperResolution

__all__ = [
    "DEFAULT_RCOND",
    "Blur",
    "Denoise",
    "GaussianBlur",
    "Identity",
    "InpaintBox",
    "InpaintMask",
    "InpaintRandom",
    "LinearOperator",
    "MotionBlur",
    "Operator",
    "SpectralOperator",
    "SuperResolution",
]
