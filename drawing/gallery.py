"""docs/operators.md and its pictures: every operator as its node builds it in ComfyUI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from ..devkit import ROOT
from . import panels

PAGE = ROOT / "docs" / "operators.md"
FOLDER = ROOT / "docs" / "operators"
PHOTO = (ROOT / "workflows" / "samples" / "hands_512.png", (208, 4, 304, 100))  # and the hand in it
SIDE = 96


class Example(NamedTuple):
    """An operator node, with the inputs that are not its defaults, and the noise that is added for the picture."""

    node: str
    inputs: dict[str, Any] = {}
    sigma: float = 0.0

    @property
    def file(self) -> str:
        """The picture's name: the node and the words among its inputs."""
        words = [value for value in self.inputs.values() if isinstance(value, str) and value.isidentifier()]
        return "_".join([self.node, *words]) + ".png"


def painted() -> Tensor:
    """A mask (1, H, W) as someone might paint it: two spots on the hand."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    spots = [(42, 58, 12, 8), (70, 46, 9, 14)]
    return torch.stack([((y - r) / h) ** 2 + ((x - c) / w) ** 2 < 1 for r, c, h, w in spots]).any(0)[None].float()


def streak() -> Tensor:
    """A kernel IMAGE (1, 15, 15, 3): the tick that a street lamp might leave in a shaken photo."""
    kernel = torch.zeros(15, 15)
    for i in range(5):
        kernel[6 + i, 1 + i] = 1.0
    for i in range(9):
        kernel[10 - i, 5 + i] = 0.5
    return kernel[None, ..., None].expand(1, 15, 15, 3)


BLUR = ("GaussianBlur", {"sigma": 1.0, "kernel_size": 9})
EXAMPLES = (
    Example("SuperResolution"),
    Example("SuperResolution", {"factor": 2.5, "kernel": "nearest"}),
    Example("InpaintMask", {"mask": painted}),
    Example("InpaintBox", {"width": 40, "height": 32}),
    Example("InpaintRandom"),
    Example("InpaintHalf"),
    Example("Outpaint"),
    Example("InpaintGrid", {"factor": 3}),
    Example("InpaintStrokes", {"style": "thin"}),
    Example("InpaintStrokes", {"style": "medium"}),
    Example("InpaintStrokes", {"style": "thick"}),
    Example("InpaintScratches"),
    Example("InpaintLines"),
    Example("InpaintRandomLines"),
    Example("Destripe"),
    Example("Destripe", {"axis": "rows", "pattern": "random", "width": 4}),
    Example("GaussianBlur", {"sigma": 2.0, "kernel_size": 17}),
    Example("AnisotropicBlur", {"sigma_x": 5.0, "angle": 30.0, "kernel_size": 41}),
    Example("UniformBlur", {"kernel_size": 7}),
    Example("MotionBlur", {"kernel_size": 25}),
    Example("LineBlur", {"length": 12.0, "angle": 30.0}),
    Example("DefocusBlur", {"radius": 4.0}),
    Example("KernelBlur", {"kernel": streak, "boundary": "reflect"}),
    Example("Greyscale"),
    Example("ChannelMix"),
    Example("BayerMosaic"),
    Example("Denoise", sigma=0.2),
    Example("CompressedSensing"),
    Example("JPEG", {"quality": 10}),
    Example("Gamma"),
    Example("HighDynamicRange"),
    Example("PhaseRetrieval"),
    Example("Compose", {"first": BLUR, "second": ("SuperResolution", {})}),
    Example("Stack", {"first": ("Greyscale", {}), "second": ("SuperResolution", {})}),
)


def write() -> str:
    """Writes every picture, and the page around them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for example in EXAMPLES:
        draw(example).save(FOLDER / example.file, optimize=True)
    PAGE.write_text(page())
    return f"{PAGE} and {len(list(FOLDER.glob('*.png')))} pictures"


def draw(example: Example) -> Image.Image:
    """The picture of one operator."""
    from ..operators import GaussianNoise

    with Image.open(PHOTO[0]) as photo:
        rgb = torch.frombuffer(bytearray(photo.convert("RGB").crop(PHOTO[1]).tobytes()), dtype=torch.uint8)
    x = rgb.view(1, SIDE, SIDE, 3).movedim(-1, 1).double() / 127.5 - 1
    A = maker(example.node, example.inputs)(tuple(x.shape[1:]))
    y = GaussianNoise(example.sigma).sample(A(x), seed=0)
    return panels.strip(x, y, A, noisy=example.sigma > 0)


def node_class(node: str) -> Any:
    """The node's class, as ComfyUI holds it."""
    import nodes

    return nodes.NODE_CLASS_MAPPINGS[f"PSLD_{node}"]


def maker(node: str, inputs: dict[str, Any]) -> Callable:
    """What an operator node puts out, its other inputs left at their defaults."""

    def given(value: Any) -> Any:
        return maker(*value) if isinstance(value, tuple) else value() if callable(value) else value

    values = defaults(node) | {name: given(value) for name, value in inputs.items()}
    (operator,) = node_class(node).execute(**values).args
    return operator


def defaults(node: str) -> dict[str, Any]:
    """What its widgets say at first."""
    return {i.id: i.default for i in node_class(node).GET_SCHEMA().inputs if hasattr(i, "default")}


INTRODUCTION = f"""# Operators

Every operator, drawn by `python3 dev.py draw gallery` as its node builds it: the photo x ({SIDE} x {SIDE} pixels), \
its measurement y = A x (without noise, unless said so), the adjoint A^T y and the pseudo-inverse A^+ y. Mid grey is \
the value 0, which unknown pixels have. A^T y is scaled so that its largest values are black or white. A^+ y leaves \
out singular values below {panels.RCOND:g} of the largest. Lengths are in pixels.
"""


def page() -> str:
    """The Markdown page: a chapter for each family, a section for each operator node."""
    families: dict[str, dict[str, list[Example]]] = {}
    for example in EXAMPLES:
        family = node_class(example.node).family.capitalize()
        families.setdefault(family, {}).setdefault(example.node, []).append(example)
    parts = [INTRODUCTION, " · ".join(f"[{family}](#{family.lower()})" for family in families) + "\n"]
    for family, sections in families.items():
        parts += [f"## {family}\n", *(section(node, examples) for node, examples in sections.items())]
    return "\n".join(parts)


def section(node: str, examples: list[Example]) -> str:
    """A node's name, description and pictures."""
    schema = node_class(node).GET_SCHEMA()
    lines = [f"### [{schema.display_name}](../web/docs/{schema.node_id}.md)", "", schema.description, ""]
    for example in examples:
        lines += [settings(example), ""] if settings(example) else []
        lines += [f"![{schema.display_name}](operators/{example.file})", ""]
    return "\n".join(lines)


def settings(example: Example) -> str:
    """The inputs of an example in words; seeds and what is drawn for the example say nothing to a reader."""
    values = defaults(example.node) | example.inputs
    words = [f"{name} {word(value)}" for name, value in values.items() if name != "seed" and not callable(value)]
    if example.sigma:
        words.append(f"noise of sigma {example.sigma:g} added")
    return ", ".join(words)


def word(value: Any) -> str:
    """The value of an input; of an operator, its name and what was changed of it."""
    if isinstance(value, tuple):
        node, inputs = value
        changed = ", ".join(f"{name} {word(v)}" for name, v in inputs.items())
        return node_class(node).GET_SCHEMA().display_name + (f" ({changed})" if changed else "")
    return f"{value:g}" if isinstance(value, float) else str(value).replace("\n", "; ")
