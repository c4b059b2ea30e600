"""`dev.py restore`: a folder of photos through a workflow, by one ComfyUI server or by many."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import DevError, cluster, sibling
from .client import Workflow, load_workflow
from .journal import Journal
from .pool import Photo, Pool, full
from .worker import Worker, load_image

contact = sibling("drawing.contact")
SUFFIXES = {".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif", ".avif"}


def main(args: argparse.Namespace) -> int:
    """Restores what is left to do; 0 when every photo is restored, 1 when some could not be."""
    workflow, folder, out = load_workflow(Path(args.workflow)), Path(args.folder), Path(args.out)
    load_image(workflow)
    photos = photos_in(folder, out)
    journal = Journal(out, digest(json.dumps(workflow, sort_keys=True).encode()))
    todo = [photo for photo in photos if not journal.settled(photo.name, photo.digest, args.again)]
    print(f"{len(photos)} photos in {folder}, {len(todo)} of them to restore", flush=True)
    pool = Pool(todo, journal, len(photos))
    if todo:
        pool.run(workers(args, workflow))
    try:
        return report(folder, journal, photos, pool)
    except OSError as error:
        raise full(error) from error


def digest(content: bytes) -> str:
    """Names a content; 20 hexadecimal digits tell more photos apart than there are."""
    return hashlib.sha256(content).hexdigest()[:20]


def photos_in(folder: Path, out: Path) -> list[Photo]:
    """The photos of a folder, each with the name of what will be made of it. Raises DevError where there are none."""
    if not folder.is_dir():
        raise DevError(f"FOLDER: there is no folder {folder}.")
    files = [file for file in sorted(folder.rglob("*")) if file.suffix.lower() in SUFFIXES and file.is_file()]
    files = [file for file in files if not file.resolve().is_relative_to(out.resolve())]
    if not files:
        raise DevError(f"FOLDER: there are no photos in {folder} ({', '.join(sorted(SUFFIXES))}).")
    stems = Counter(file.with_suffix("") for file in files)
    photos = []
    for file in files:
        made = file.with_suffix("") if stems[file.with_suffix("")] == 1 else file  # a.png and a.jpg keep apart
        name, made = file.relative_to(folder).as_posix(), made.relative_to(folder).as_posix()
        photos.append(Photo(file, name, made, digest(file.read_bytes())))
    return photos


def workers(args: argparse.Namespace, workflow: Workflow) -> list[Callable[[], Any]]:
    """What makes a worker, once for each that is to run at a time."""
    if args.ray:
        return cluster.workers(args.ray, workflow)
    if not args.server:
        print("starting ComfyUI ...", flush=True)
    return [lambda address=address: Worker(workflow, address) for address in args.server or [None]]


def report(folder: Path, journal: Journal, photos: list[Photo], pool: Pool) -> int:
    """Writes the summary and the contact sheets, and says what failed."""
    entries = [journal.entries[photo.name] for photo in photos]
    failed = [entry for entry in entries if entry["state"] == "failed"]
    summary = {
        "folder": str(folder), "photos": len(entries), "done": len(entries) - len(failed),
        "failed": [{"photo": entry["photo"], "why": entry["why"]} for entry in failed],
        "this_run": {"photos": pool.settled, "seconds": round(pool.seconds, 1),
                     "photos_a_minute": round(pool.photos_a_minute, 2), "servers_lost": pool.lost},
    }  # fmt: skip
    written = journal.folder / "summary.json"
    written.write_text(json.dumps(summary, indent=2) + "\n")
    sheets = contact.write(folder, journal.folder, entries)
    print(f"{summary['done']} restored, {len(failed)} not; {written}, {sheets[0]}")
    for entry in failed:
        print(f"  {entry['photo']}: {entry['why']}")
    return 1 if failed else 0
