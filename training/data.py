"""Photos from a zip or a folder, cropped and flipped in several ways, as tensors that fit in memory."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


def read_photos(source: str | Path, split: str) -> list[Image.Image]:
    """The RGB photos of `split`, "train" or "test", in order of their names.

    source: zip or folder. Where it has folders `train` and `test` they are the splits; else every tenth photo is for
    testing. Raises ValueError where there is no photo.
    """
    files = dict(sorted(entries(Path(source))))
    parts = {name: Path(name).parts for name in files}
    if any(split in part[:-1] for part in parts.values()):
        chosen = [name for name in files if split in parts[name][:-1]]
    else:
        chosen = [name for i, name in enumerate(files) if (i % 10 == 9) == (split == "test")]
    if not chosen:
        raise ValueError(f"--data: {source} holds no photos for the {split} split; give a zip or folder of photos "
                         f"({', '.join(sorted(SUFFIXES))}), ten at least.")
    return [Image.open(io.BytesIO(files[name])).convert("RGB") for name in chosen]


def entries(source: Path) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every picture file."""
    if source.is_dir():
        for file in source.rglob("*"):
            if file.suffix.lower() in SUFFIXES:
                yield str(file.relative_to(source)), file.read_bytes()
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            for name in archive.namelist():
                if Path(name).suffix.lower() in SUFFIXES:
                    yield name, archive.read(name)
    else:
        raise ValueError(f"--data: {source} is neither a folder nor a zip file.")


def square(photo: Image.Image, size: int) -> Image.Image:
    """The largest central square, resized."""
    side = min(photo.size)
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    return photo.resize((size, size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))


def augmented(photo: Image.Image, size: int, zoom: float, rng: np.random.Generator) -> Image.Image:
    """A square of random place and of `zoom` to 1 of the largest side, flipped half of the time."""
    side = min(photo.size) * rng.uniform(zoom, 1)
    left, top = (rng.uniform(0, length - side) for length in photo.size)
    crop = photo.resize((size, size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop


def bank(photos: list[Image.Image], size: int, copies: int, zoom: float, seed: int = 0) -> Tensor:
    """`copies` augmentations of every photo, (N, 3, size, size) uint8."""
    rng = np.random.default_rng(seed)
    return stack([augmented(photo, size, zoom, rng) for _ in range(copies) for photo in photos])


def squares(photos: list[Image.Image], size: int) -> Tensor:
    """Every photo as it is, (N, 3, size, size) uint8."""
    return stack([square(photo, size) for photo in photos])


def stack(pictures: list[Image.Image]) -> Tensor:
    return torch.stack([torch.from_numpy(np.array(picture)).movedim(-1, 0) for picture in pictures])


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """(N, C, H, W) float, moved by up to a thirty-second of the side, reflected at the edges; half of them mirrored."""
    height, width = images.shape[-2:]
    margin = width // 32
    wide = functional.pad(images, (margin,) * 4, mode="reflect")
    corners = torch.randint(2 * margin + 1, (len(images), 2), generator=generator).tolist()
    moved = torch.stack([image[:, i : i + height, j : j + width] for image, (i, j) in zip(wide, corners, strict=True)])
    mirrored = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return torch.where(mirrored.to(images.device), moved.flip(-1), moved)


def pixels(images: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """uint8 -> float32 in [-1, 1], on `device`."""
    return images.to(device).float() / 127.5 - 1
