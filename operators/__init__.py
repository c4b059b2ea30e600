"""Forward operators A with adjoint and pseudo-inverse: pure torch, no ComfyUI."""

from .base import DEFAULT_RCOND, LinearOperator, Operator, SpectralOperator
from .blur import AnisotropicBlur, Blur, DefocusBlur, GaussianBlur, LineBlur, MotionBlur, UniformBlur
from .colour import BayerMosaic, ChannelMix, Greyscale
from .compose import Compose, Stack, nonlinear_part
from .hadamard import CompressedSensing
from .jpeg import JPEG
from .masks import (
    Denoise,
    Destripe,
    Identity,
    InpaintBox,
    InpaintGrid,
    InpaintHalf,
    InpaintLines,
    InpaintMask,
    InpaintRandom,
    Outpaint,
)
from .noise import (
    GaussianNoise,
    NoiseModel,
    NoNoise,
    PoissonNoise,
    SaltAndPepperNoise,
    SpeckleNoise,
)
from .noise_level import estimate_photon_noise, estimate_sigma
from .nonlinear import Gamma, HighDynamicRange, PhaseRetrieval
from .resize import SuperResolution
from .robust import Robust
from .strokes import InpaintScratches, InpaintStrokes
from .weighted import weighted

__all__ = [
    "AnisotropicBlur",
    "BayerMosaic",
    "Blur",
    "ChannelMix",
    "Compose",
    "CompressedSensing",
    "DEFAULT_RCOND",
    "DefocusBlur",
    "Denoise",
    "Destripe",
    "Gamma",
    "GaussianBlur",
    "GaussianNoise",
    "Greyscale",
    "HighDynamicRange",
    "Identity",
    "InpaintBox",
    "InpaintGrid",
    "InpaintHalf",
    "InpaintLines",
    "InpaintMask",
    "InpaintRandom",
    "InpaintScratches",
    "InpaintStrokes",
    "JPEG",
    "LineBlur",
    "LinearOperator",
    "MotionBlur",
    "NoNoise",
    "NoiseModel",
    "Operator",
    "Outpaint",
    "PhaseRetrieval",
    "PoissonNoise",
    "Robust",
    "SaltAndPepperNoise",
    "SpeckleNoise",
    "SpectralOperator",
    "Stack",
    "SuperResolution",
    "UniformBlur",
    "estimate_photon_noise",
    "estimate_sigma",
    "nonlinear_part",
    "weighted",
]
