"""What a restoration of a folder has done so far, on disk: killed at any moment, it goes on where it stopped.

A photo's files are written under temporary names; then one line of the journal says that they are complete; then they
get their names. So a file with its name is whole, and what the journal says is done is never done again. A start puts
right what the last end left: it gives names to files that the journal knows, and removes the others.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

from . import DevError

Entry = dict[str, Any]  # photo, digest, workflow, state ("done" or "failed"); files and seconds, or why


class Journal:
    """The journal of one output folder, for one process at a time.

    Raises DevError where another process has it, or where it tells of another workflow.
    """

    def __init__(self, folder: Path, workflow: str) -> None:
        self.folder, self.workflow, self.partial = folder, workflow, folder / ".partial"
        self.partial.mkdir(parents=True, exist_ok=True)
        self.file = (folder / "journal.jsonl").open("a+b", buffering=0)
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DevError(f"--out: another run is at {folder}; wait for it or choose another folder.") from None
        self.entries = self.read()
        self.recover()

    def read(self) -> dict[str, Entry]:
        """The last word on each photo; a line that was cut off is as if it had never been written."""
        self.file.seek(0)
        content, entries = self.file.read(), {}
        for line in content.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if entry["workflow"] != self.workflow:
                raise DevError(f"--out: {self.folder} holds results of another workflow; choose another folder.")
            entries[entry["photo"]] = entry
        if content and not content.endswith(b"\n"):
            self.file.write(b"\n")
        return entries

    def recover(self) -> None:
        """Finishes what was done but has no name yet, and clears what was not done."""
        for entry in self.entries.values():
            self.name_files(entry)
        shutil.rmtree(self.partial)
        self.partial.mkdir()

    def settled(self, photo: str, digest: str, again: bool) -> bool:
        """Whether there is nothing left to do for this photo; `again` takes failed ones up once more."""
        entry = self.entries.get(photo)
        if entry is None or entry["digest"] != digest:
            return False
        if entry["state"] == "failed":
            return not again
        return all((self.folder / name).is_file() for name in entry["files"])

    def done(self, photo: str, digest: str, files: dict[str, bytes], seconds: float) -> None:
        """Stores a photo's files, by their names below the folder."""
        for number, content in enumerate(files.values()):
            store(self.partial / f"{digest}_{number}", content)
        entry = {"photo": photo, "state": "done", "digest": digest, "files": list(files), "seconds": round(seconds, 2)}
        self.name_files(self.add(entry))

    def failed(self, photo: str, digest: str, why: str) -> None:
        """Notes that there is no restoring this photo."""
        self.add({"photo": photo, "state": "failed", "digest": digest, "why": why})

    def add(self, entry: Entry) -> Entry:
        entry["workflow"] = self.workflow
        line = json.dumps(entry).encode() + b"\n"
        if self.file.write(line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(self.file.fileno())
        self.entries[entry["photo"]] = entry
        return entry

    def name_files(self, entry: Entry) -> None:
        for number, name in enumerate(entry.get("files", ())):
            written, target = self.partial / f"{entry['digest']}_{number}", self.folder / name
            if written.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                written.replace(target)


def store(file: Path, content: bytes) -> None:
    """Writes a file through to the disk."""
    with file.open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
