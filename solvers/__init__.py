"""Solvers: pure torch over three callables (denoise, encode, decode), no ComfyUI."""

from .latent import LatentModel, Step
from .psld import GradientError, gml_dps, ldps, psld
from .reference import psld_reference

METHODS = {
    "PSLD": psld,
    "GML-DPS": gml_dps,
    "LDPS": ldps,
    "PSLD reference": psld_reference,
}
"""Every solver by the name a user picks; all take (model, measurement, z, sigmas, gamma, omega, callback)."""

__all__ = ["METHODS", "GradientError", "LatentModel", "Step", "gml_dps", "ldps", "psld", "psld_reference"]
