"""Photos on one side, workers on the other: each photo to one worker, and to another where the first is lost."""

from __future__ import annotations

import io
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from . import DevError
from .client import Refused
from .journal import Journal
from .worker import Lost

TRIES = 3  # servers that may be lost on one photo, or by one worker before it has restored anything


class Full(DevError):
    """There is no room for what was made; no photo is to blame."""


@dataclass
class Photo:
    """A photo: its file, its name below the folder, the name of what is made of it, and its content's digest."""

    file: Path
    name: str
    made: str
    digest: str
    lost: int = 0


class Pool:
    """Restores `photos` and writes what becomes of them into the journal; `total` counts those done before, too."""

    def __init__(self, photos: list[Photo], journal: Journal, total: int) -> None:
        self.waiting, self.journal, self.total = deque(photos), journal, total
        self.left, self.settled, self.lost = len(photos), 0, 0
        self.begun: float | None = None  # when the first worker was there
        self.alive: list[Any] = []
        self.error: BaseException | None = None
        self.last: Lost | None = None
        self.changed = threading.Condition()

    @property
    def seconds(self) -> float:
        """How long workers have been there."""
        return time.monotonic() - self.begun if self.begun else 0.0

    @property
    def photos_a_minute(self) -> float:
        return 60 * self.settled / self.seconds if self.begun else 0.0

    def run(self, makers: list[Callable[[], Any]]) -> None:
        """One thread a worker, until every photo is settled. Raises DevError where none can be any more."""
        threads = [threading.Thread(target=self.serve, args=(make,), daemon=True) for make in makers]
        form = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} photos{postfix}"
        try:
            with tqdm(total=self.total, initial=self.total - self.left, bar_format=form, disable=None) as self.bar:
                for thread in threads:
                    thread.start()
                with self.changed:
                    while self.left and not self.error and any(thread.is_alive() for thread in threads):
                        self.changed.wait(0.5)
        finally:
            for worker in list(self.alive):
                worker.close()
        if self.error or self.left:
            raise self.error or self.last

    def serve(self, make: Callable[[], Any]) -> None:
        """One worker's life, and its successors'. No photo waits for a worker that may never come."""
        worker, photo, failures = None, None, 0
        try:
            while True:
                try:
                    worker = worker or self.started(make)
                    if (photo := self.take()) is None:
                        return
                    content = readable(photo)
                    begun = time.monotonic()
                    pictures = worker.restore(f"{photo.digest}{photo.file.suffix.lower()}", content)
                    files = {photo.made + end + suffix(picture): picture for end, picture in pictures.items()}
                    self.done(photo, files, time.monotonic() - begun)
                    photo, failures = None, 0
                except Lost as error:
                    failures += 1
                    worker = self.ended(worker)
                    if photo:
                        photo = self.give_back(photo, error)
                    if failures >= TRIES:
                        raise
                except (Refused, Full):
                    raise
                except DevError as error:
                    if photo is None:
                        raise
                    photo = self.fail(photo, str(error))
        except BaseException as error:
            self.give_up(error)
        finally:
            self.ended(worker)

    def take(self) -> Photo | None:
        """The next photo; None when there are no more, for which it waits while others may give one back."""
        with self.changed:
            while not self.waiting and self.left and not self.error:
                self.changed.wait(0.5)
            return self.waiting.popleft() if self.waiting and not self.error else None

    def give_back(self, photo: Photo, error: Lost) -> None:
        """For another worker, unless it has been the end of several."""
        photo.lost += 1
        if photo.lost >= TRIES:
            return self.fail(photo, f"{TRIES} servers ended while they were at it ({error})")
        with self.changed:
            self.lost += 1
            self.waiting.appendleft(photo)
            self.changed.notify_all()

    def started(self, make: Callable[[], Any]) -> Any:
        worker = make()
        self.begun = self.begun or time.monotonic()
        self.alive.append(worker)
        return worker

    def ended(self, worker: Any) -> None:
        if worker in self.alive:
            self.alive.remove(worker)
            worker.close()

    def give_up(self, error: BaseException) -> None:
        """A worker ends: the run with it, unless it only lost its servers; others may be left."""
        with self.changed:
            if isinstance(error, Lost):
                self.last = error
            else:
                self.error = error
            self.changed.notify_all()

    def done(self, photo: Photo, files: dict[str, bytes], seconds: float) -> None:
        with self.changed:
            try:
                self.journal.done(photo.name, photo.digest, files, seconds)
            except OSError as error:
                raise full(error) from error
            self.count(photo, "done")

    def fail(self, photo: Photo, why: str) -> None:
        with self.changed:
            try:
                self.journal.failed(photo.name, photo.digest, why)
            except OSError as error:
                raise full(error) from error
            self.count(photo, why)

    def count(self, photo: Photo, what: str) -> None:
        """One photo less to do."""
        self.left -= 1
        self.settled += 1
        self.changed.notify_all()
        rate = f"{self.photos_a_minute:.1f} photos a minute"
        time_left = f"{tqdm.format_interval(self.seconds / self.settled * self.left)} left"
        self.bar.set_postfix_str(f"{rate}, {time_left}", refresh=False)
        self.bar.update()
        if self.bar.disable:  # no terminal: a line in place of the bar
            print(f"{self.total - self.left}/{self.total} {photo.name}: {what} ({rate}, {time_left})", flush=True)


def readable(photo: Photo) -> bytes:
    """The photo's bytes, once it has been read to its end. Raises DevError where that cannot be done."""
    try:
        content = photo.file.read_bytes()
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
    except Exception as error:  # Pillow's readers raise what they like
        raise DevError(f"it cannot be read as a picture ({error})") from None
    return content


def suffix(picture: bytes) -> str:
    """The usual end of a picture file's name, by its content."""
    with Image.open(io.BytesIO(picture)) as opened:
        return {"JPEG": ".jpg", "TIFF": ".tif"}.get(opened.format, f".{opened.format.lower()}")


def full(error: OSError) -> Full:
    return Full(f"--out: {error.strerror or error}; make room there, and the same command goes on.")
