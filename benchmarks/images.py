"""Test images from a folder or a zip, and pictures back from pixels."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..devkit import ROOT, DevError

SAMPLES = ROOT / "workflows" / "samples"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class TestImage:
    """A file name without its suffix, and pixels (1, 3, size, size) in [-1, 1]."""

    __test__ = False  # no test class, whatever pytest makes of its name

    name: str
    x: Tensor


def read_images(source: Path | None, size: int, limit: int | None) -> list[TestImage]:
    """`limit` images, of the `test/` part where there is one; default: the pack's sample photos.

    They come in the order of their names' checksums, so that a few of them are a fair sample of a sorted folder, and
    more of them hold the few. Raises DevError where there are none.
    """
    files = samples() if source is None else members(source)
    chosen = sorted(files, key=lambda file: zlib.crc32(PurePosixPath(file[0]).name.encode()))[:limit]
    if not chosen:
        raise DevError(f"--images: {source} holds no pictures ({', '.join(SUFFIXES)}); give a folder or a zip of some.")
    return [TestImage(PurePosixPath(name).stem, square(content, size)) for name, content in chosen]


def samples() -> list[tuple[str, bytes]]:
    """The hands that the pack ships; they are 64 x 64."""
    return [(file.name, file.read_bytes()) for file in SAMPLES.glob("hand_*.png")]


def members(source: Path) -> list[tuple[str, bytes]]:
    """(name, content) of the pictures in a folder or a zip; only those below test/ where it has such a part."""
    if not source.exists():
        raise DevError(f"--images: {source} does not exist; give a folder or a zip of pictures.")
    read = from_zip if zipfile.is_zipfile(source) else from_folder
    return list(read(source))


def from_zip(source: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(source) as archive:
        for name in tested([PurePosixPath(name) for name in archive.namelist()]):
            yield str(name), archive.read(str(name))


def from_folder(source: Path) -> Iterator[tuple[str, bytes]]:
    for name in tested([PurePosixPath(file.relative_to(source).as_posix()) for file in source.rglob("*")]):
        yield str(name), (source / name).read_bytes()


def tested(names: list[PurePosixPath]) -> list[PurePosixPath]:
    """The pictures among the names, and of these the ones below a `test` folder where there are any."""
    pictures = [name for name in names if name.suffix.lower() in SUFFIXES]
    return [name for name in pictures if "test" in name.parts[:-1]] or pictures


def square(content: bytes, size: int) -> Tensor:
    """The middle square at size x size, antialiased bicubic as in the embedded prior's training: (1, 3, H, W)."""
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    picture = picture.resize((size, size), Image.Resampling.BICUBIC, box=box)
    return pixels_from_picture(picture)


def pixels_from_picture(picture: Image.Image) -> Tensor:
    """An RGB picture -> (1, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.array(picture)).movedim(-1, 0)[None] / 127.5 - 1


def picture_from_pixels(x: Tensor) -> Image.Image:
    """(1, C, H, W) in [-1, 1], clamped -> a picture."""
    array = (x[0].detach().cpu().clamp(-1, 1) + 1) * 127.5
    return Image.fromarray(array.round().byte().movedim(0, -1).expand(-1, -1, 3).numpy())
