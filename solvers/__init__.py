"""Solvers: pure torch over three callables (denoise, encode, decode), no ComfyUI."""

from .ddrm import ddrm
from .glued_map import glued_map
from .gradients import GradientError
from .latent import Autoencoder, LatentModel, NoiseSource, Step
from .latent_daps import latent_daps
from .lmap_rps import ANCHOR, lmap_rps
from .local_map import local_map
from .method import Method
from .mmps import mmps
from .proximal_gluing import proximal_gluing
from .psld import gml_dps, ldps, psld
from .reference import psld_reference
from .resample import resample

INVERSE_LEVELS = (10.0, 0.1)
"""Where a measurement already says what there is to see, up to where a latent is as good as free of noise."""

METHODS = {
    "Glued MAP": Method(
        glued_map,
        "most likely latent at each level, from the glued image on: best in few steps",
        through_decoder=True,
        takes_draft=True,
        linear_only=False,
        levels=INVERSE_LEVELS,
    ),
    "PSLD": Method(psld, "gradients of the data and of the gluing", True, True, levels=INVERSE_LEVELS),
    "GML-DPS": Method(
        gml_dps,
        "gradients of the data and of the autoencoder's fixed point",
        True,
        True,
        linear_only=False,
        levels=INVERSE_LEVELS,
    ),
    "LDPS": Method(
        ldps,
        "gradient of the data alone; DPS on a pixel-space model",
        True,
        True,
        linear_only=False,
        levels=INVERSE_LEVELS,
    ),
    "PSLD reference": Method(psld_reference, "the authors' update, for comparison", True, True),
    "Proximal gluing": Method(
        proximal_gluing,
        "the gluing as a fixed point: no gradients, memory of plain sampling",
        linear_only=False,
        proximal_only=True,
        levels=INVERSE_LEVELS,
    ),
    "Local MAP": Method(
        local_map,
        "most likely latent at each level, by gradients of the decoder",
        through_decoder=True,
        takes_draft=True,
        linear_only=False,
        levels=INVERSE_LEVELS,
    ),
    "ReSample": Method(resample, "hard data consistency, then stochastic resampling", through_decoder=True),
    "LatentDAPS": Method(
        latent_daps,
        "decoupled annealing with Langevin dynamics",
        through_decoder=True,
        takes_draft=True,
        linear_only=False,
    ),
    "MMPS": Method(mmps, "moment matching by second-order Tweedie", True, True, takes_draft=True, linear_only=False),
    "DDRM": Method(ddrm, "spectral restoration, for pixel-space models and operators with a known SVD"),
    "LMAP-RPS": Method(
        lmap_rps,
        "the most likely latent by descent at one noise level; not for holes",
        through_decoder=True,
        takes_draft=True,
        linear_only=False,
        levels=(ANCHOR, ANCHOR),
    ),
}
"""Every solver by the name a user picks."""

__all__ = [
    "METHODS",
    "Autoencoder",
    "GradientError",
    "LatentModel",
    "Method",
    "NoiseSource",
    "Step",
    "ddrm",
    "glued_map",
    "gml_dps",
    "latent_daps",
    "ldps",
    "lmap_rps",
    "local_map",
    "mmps",
    "proximal_gluing",
    "psld",
    "psld_reference",
    "resample",
]
