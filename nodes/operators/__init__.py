"""Menu group "operators": how the image was degraded. One file per family; see base.py for what they share."""

from . import blur, colour, combine, inpainting, lines, nonlinear, resolution, sensing

NODES = [
    *resolution.NODES,
    *inpainting.NODES,
    *lines.NODES,
    *blur.NODES,
    *colour.NODES,
    *sensing.NODES,
    *nonlinear.NODES,
    *combine.NODES,
]
