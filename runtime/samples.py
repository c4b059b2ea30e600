"""The sample photos of the templates, laid into ComfyUI's input folder, the only place where Load Image looks."""

from __future__ import annotations

import logging
from pathlib import Path

import folder_paths

SAMPLES = Path(__file__).resolve().parent.parent / "workflows" / "input"


def offer_samples() -> None:
    """Copies each sample that the input folder has no file of that name for; says so in one line where it cannot."""
    folder = Path(folder_paths.get_input_directory())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for sample in SAMPLES.iterdir():
            copy_new(sample, folder / sample.name)
    except OSError as error:
        logging.warning("PSLD: the templates' sample photos are in %s, not in ComfyUI's input (%s).", SAMPLES, error)


def copy_new(source: Path, target: Path) -> None:
    """Copies a file unless there is something of that name."""
    content = source.read_bytes()
    try:
        with target.open("xb") as file:
            file.write(content)
    except FileExistsError:
        pass
