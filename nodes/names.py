"""Words that people search by, and inputs for experts: both only where this ComfyUI's schema has them.

Older versions search ids and display names alone, and show every input.
"""

from __future__ import annotations

from comfy_api.latest import io

ALIASES = {
    "PSLD_RestorePhoto": [
        "restore", "repair", "fix", "photo", "sharpen", "deblur", "blurry", "upscale", "enlarge", "super-resolution",
        "denoise", "remove noise", "inpaint", "erase", "remove", "fill", "scratches", "colorize", "enhance",
    ],
    "PSLD_KSampler": ["restore", "inverse problem", "posterior sampling", "DPS", "PSLD", "Glued MAP"],
    "PSLD_Sampler": ["inverse problem", "posterior sampling", "DPS", "PSLD", "Glued MAP"],
    "PSLD_GaussianBlur": ["sharpen", "deblur", "blurry", "out of focus"],
    "PSLD_AnisotropicBlur": ["sharpen", "deblur", "blurry"],
    "PSLD_UniformBlur": ["sharpen", "deblur", "box blur"],
    "PSLD_MotionBlur": ["sharpen", "deblur", "shake", "camera motion"],
    "PSLD_LineBlur": ["sharpen", "deblur", "motion"],
    "PSLD_DefocusBlur": ["sharpen", "deblur", "lens", "bokeh"],
    "PSLD_KernelBlur": ["sharpen", "deblur", "point spread function", "PSF", "deconvolution"],
    "PSLD_SuperResolution": ["upscale", "enlarge", "super resolution", "resize", "bigger"],
    "PSLD_Denoise": ["remove noise", "grain", "clean"],
    "PSLD_InpaintMask": ["inpaint", "erase", "remove", "object removal", "fill", "hole", "repair"],
    "PSLD_Outpaint": ["extend", "uncrop"],
    "PSLD_Destripe": ["stripes", "dead lines", "remove", "repair"],
    "PSLD_Greyscale": ["colorize", "colourise", "colour", "black and white", "grayscale"],
    "PSLD_BayerMosaic": ["demosaic", "raw", "sensor"],
    "PSLD_JPEG": ["artifacts", "compression", "repair"],
    "PSLD_LoadJPEG": ["artifacts", "compression", "repair", "blocks"],
    "PSLD_EstimateBlur": ["blind deblurring", "sharpen", "deblur", "unknown", "kernel", "PSF"],
    "PSLD_FindLines": ["scratches", "dust", "stripes", "repair", "old photo", "remove"],
    "PSLD_FitToModel": ["resize", "pad", "crop", "photo"],
    "PSLD_UndoFit": ["stitch", "paste", "photo"],
    "PSLD_MeasurementFromImage": ["photo", "degraded", "restore"],
    "PSLD_DataConsistency": ["keep known pixels", "projection", "exact"],
    "PSLD_Compare": ["before after", "residual", "curve", "explain"],
    "PSLD_ImageMetrics": ["PSNR", "SSIM", "compare"],
    "PSLD_LoadLDM": ["checkpoint", "prior", "latent diffusion"],
}  # fmt: skip
"""Search words by node id."""

EXPERT = {
    "PSLD_KSampler": {"scheduler", "gamma", "omega", "candidates", "keep_measured", "result"},
    "PSLD_Sampler": {"gamma", "omega", "candidates", "result"},
    "PSLD_FitToModel": {"threshold", "grow"},
    "PSLD_UndoFit": {"threshold", "grow"},
    "PSLD_InpaintMask": {"threshold", "grow"},
}
"""Inputs that are folded away, by node id. Nothing else changes the order on the screen: workflows store widgets by
their position, and the frontend lays them out in the order in which they are declared."""


def named(node: type[io.ComfyNode]) -> type[io.ComfyNode]:
    """The same node, whose schema has search words and says which inputs are for experts."""
    define = node.define_schema.__func__

    def define_schema(cls: type[io.ComfyNode]) -> io.Schema:
        schema = define(cls)
        if hasattr(schema, "search_aliases"):
            schema.search_aliases = ALIASES.get(schema.node_id, [])
        for known in schema.inputs:
            if hasattr(known, "advanced") and known.id in EXPERT.get(schema.node_id, ()):
                known.advanced = True
        return schema

    node.define_schema = classmethod(define_schema)
    return node
