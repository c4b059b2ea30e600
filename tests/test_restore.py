"""`dev.py restore`: every photo comes out once and whole, whatever is broken, killed or lost on the way."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from psld.devkit import ROOT, DevError
from psld.devkit.client import Refused
from psld.devkit.journal import Journal
from psld.devkit.pool import Photo, Pool
from psld.devkit.restore import photos_in
from psld.devkit.server import LEASH, Server, comfyui_server
from psld.devkit.worker import Lost, saved
from psld.tests.prompts import node

pytestmark = pytest.mark.timeout(300)
INVERT = {
    "photo": node("LoadImage", image="any.png"),
    "invert": node("ImageInvert", image=["photo", 0]),
    "save": node("SaveImage", images=["invert", 0], filename_prefix="inverted"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with comfyui_server(tmp_path_factory.mktemp("base")) as running:
        yield running


def noise(file: Path, seed: int) -> np.ndarray:
    """Writes a picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)
    return pixels


def inverted(file: Path, pixels: np.ndarray) -> bool:
    """Whether a file is the whole picture of these pixels, inverted; Save Image rounds down."""
    return bool((abs(np.asarray(Image.open(file)) - (255.0 - pixels)) <= 1).all())


def command(folder: Path, out: Path, address: str, workflow: dict = INVERT) -> list[str]:
    file = folder.parent / "workflow.json"
    file.write_text(json.dumps(workflow))
    options = ["--workflow", str(file), "--out", str(out), "--server", address]
    return [sys.executable, str(ROOT / "dev.py"), "--no-setup", "restore", str(folder), *options]


def restore(*arguments, **keywords) -> subprocess.CompletedProcess:
    return subprocess.run(command(*arguments, **keywords), capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_a_folder_is_restored_and_a_broken_photo_costs_itself(server: Server, tmp_path: Path) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    taken = {name: noise(folder / name, seed) for seed, name in enumerate(["a.png", "b.png", "sub/c.png"])}
    Image.new("RGB", (16, 16), (1, 2, 3)).save(folder / "a.jpg")
    (folder / "torn.png").write_bytes((folder / "b.png").read_bytes()[:500])
    first = restore(folder, out, server.address)
    assert first.returncode == 1 and "torn.png: it cannot be read as a picture" in first.stdout
    made = {"a.png": "a.png.png", "b.png": "b.png", "sub/c.png": "sub/c.png"}
    for name, pixels in taken.items():
        assert inverted(out / made[name], pixels)
    assert (out / "a.jpg.png").is_file()
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["photos"], summary["done"]) == (5, 4)
    assert [failed["photo"] for failed in summary["failed"]] == ["torn.png"]
    assert Image.open(out / "contact_sheet_1.jpg").size[0] > 320

    lines = (out / "journal.jsonl").read_text()
    second = restore(folder, out, server.address)
    assert "0 of them to restore" in second.stdout and (out / "journal.jsonl").read_text() == lines
    noise(folder / "torn.png", 9)
    third = restore(folder, out, server.address)
    assert third.returncode == 0 and "1 of them to restore" in third.stdout
    other = restore(folder, out, server.address, INVERT | {"save": node("PreviewImage", images=["invert", 0])})
    assert other.returncode == 1 and "results of another workflow" in other.stderr


@pytest.mark.slow
def test_without_room_for_a_picture_the_run_stops_and_no_photo_is_to_blame(server: Server, tmp_path: Path) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    taken = [noise(folder / f"{seed}.png", seed) for seed in range(2)]

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    stopped = subprocess.run(command(folder, out, server.address), capture_output=True, text=True, timeout=120,
                             preexec_fn=no_room)  # fmt: skip
    assert stopped.returncode == 1 and "--out: File too large; make room there" in stopped.stderr
    assert "Traceback" not in stopped.stderr and not (out / "journal.jsonl").read_bytes()
    assert restore(folder, out, server.address).returncode == 0
    assert all(inverted(out / f"{seed}.png", pixels) for seed, pixels in enumerate(taken))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"invert": node("NoSuchNode", image=["photo", 0])}, "NoSuchNode does not exist"),
        ({"second": node("LoadImage", image="b.png")}, "it has 2 Load Image nodes"),
        ({"save": node("PreviewAny", source=["invert", 0])}, "saved no picture"),
    ],
)
def test_what_is_wrong_with_the_workflow_is_said(server, tmp_path, change: dict, sentence: str) -> None:
    noise(tmp_path / "photos" / "a.png", 0)
    result = restore(tmp_path / "photos", tmp_path / "out", server.address, INVERT | change)
    assert result.returncode == 1 and sentence in result.stdout + result.stderr and "Traceback" not in result.stderr


@pytest.mark.slow
def test_killed_ten_times_no_photo_is_missing_half_written_or_made_twice(server: Server, tmp_path: Path) -> None:
    folder, out, chance = tmp_path / "photos", tmp_path / "out", random.Random(0)
    taken = {f"{i:02}.png": noise(folder / f"{i:02}.png", i) for i in range(200)}
    kills = 0
    while kills < 10:
        process = subprocess.Popen(command(folder, out, server.address), stdout=subprocess.PIPE, text=True)
        assert "200 photos" in process.stdout.readline()
        time.sleep(chance.uniform(0, 0.3))
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for file in out.glob("*.png"):  # whatever has a name is whole
            assert inverted(file, taken[file.name])
        if len(list(out.glob("*.png"))) == 200:
            break
    assert kills == 10 and restore(folder, out, server.address).returncode == 0
    lines = [line for line in (out / "journal.jsonl").read_text().splitlines() if line]
    entries = [json.loads(line) for line in lines if line.endswith("}")]
    assert sorted(entry["photo"] for entry in entries) == sorted(taken)
    assert {file.name for file in out.glob("*.png")} == set(taken) and not list((out / ".partial").iterdir())


def test_the_journal_puts_right_what_the_last_end_left(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "w")
    journal.done("a.png", "1a", {"a.png": b"whole", "deep/b.png": b"too"}, 1.0)
    journal.failed("c.png", "3c", "it is no picture")
    with pytest.raises(DevError, match="another run is at"):
        Journal(tmp_path, "w")
    journal.file.close()
    (tmp_path / "a.png").rename(tmp_path / ".partial" / "1a_0")  # ended between the journal's line and the name
    (tmp_path / ".partial" / "2b_0").write_bytes(b"hal")  # ended while it wrote
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write('{"photo": "d.png", "sta')
    journal = Journal(tmp_path, "w")
    assert (tmp_path / "a.png").read_bytes() == b"whole" and not list((tmp_path / ".partial").iterdir())
    assert journal.settled("a.png", "1a", again=True) and not journal.settled("a.png", "changed", again=False)
    assert journal.settled("c.png", "3c", again=False) and not journal.settled("c.png", "3c", again=True)
    assert not journal.settled("d.png", "4d", again=False)
    journal.done("d.png", "4d", {"d.png": b"d"}, 1.0)
    journal.file.close()
    assert set(Journal(tmp_path, "w").entries) == {"a.png", "c.png", "d.png"}


class Fragile:
    """A worker that is lost after some photos, and at once on a photo that brings servers down."""

    def __init__(self, photos: int, deadly: bytes) -> None:
        self.left, self.deadly, self.closed = photos, deadly, False

    def restore(self, name: str, content: bytes) -> dict[str, bytes]:
        self.left -= 1
        if self.left < 0 or content == self.deadly:
            raise Lost("The server is gone.")
        return {"": content}

    def close(self) -> None:
        self.closed = True


def test_what_a_lost_worker_was_at_goes_to_another(tmp_path: Path) -> None:
    for i in range(20):
        noise(tmp_path / "photos" / f"{i:02}.png", i)
    photos, journal, made = photos_in(tmp_path / "photos", tmp_path / "out"), Journal(tmp_path / "out", "w"), []
    deadly = photos[7].file.read_bytes()

    def make() -> Fragile:
        made.append(Fragile(3, deadly))
        return made[-1]

    pool = Pool(photos, journal, len(photos))
    pool.run([make, make, make])
    for photo in photos:
        assert journal.entries[photo.name]["state"] == ("failed" if photo is photos[7] else "done")
        if photo is not photos[7]:
            assert (tmp_path / "out" / photo.name).read_bytes() == photo.file.read_bytes()
    assert "3 servers ended" in journal.entries[photos[7].name]["why"]
    assert len(made) >= 7 and all(worker.closed for worker in made)


@pytest.mark.parametrize("error", [Lost("nothing answers"), Refused("no such node")])
def test_where_no_worker_is_to_be_had_the_run_ends_with_the_reason(tmp_path: Path, error: DevError) -> None:
    noise(tmp_path / "a.png", 0)
    photos = photos_in(tmp_path, tmp_path / "out")

    def make() -> None:
        raise error

    with pytest.raises(type(error), match=str(error)):
        Pool([Photo(**vars(photo)) for photo in photos], Journal(tmp_path / "out", "w"), 1).run([make, make])


def test_pictures_of_several_nodes_have_names_that_tell_them_apart() -> None:
    file = {"filename": "x.png", "subfolder": "", "type": "output"}
    outputs = {"9": {"images": [file]}, "4": {"images": [file, file]}, "5": {"images": [file | {"type": "temp"}]}}
    workflow = {"4": node("SaveImage"), "5": node("PreviewImage"), "9": node("SaveImage")}
    workflow["9"]["_meta"] = {"title": "save it/all"}
    assert [end for end, _ in saved(workflow, outputs)] == ["_SaveImage_4_1", "_SaveImage_4_2", "_it_all_9_1"]


@pytest.mark.slow
def test_a_server_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text("import time; time.sleep(60)")
    leashed = [sys.executable, str(LEASH), str(tmp_path / "server.py")]
    code = f"from subprocess import *; print(Popen({leashed}, stdin=PIPE).pid, flush=True); input()"
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    parent = subprocess.Popen([sys.executable, "-c", code], **pipes)
    server = int(parent.stdout.readline())
    assert running(server)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while running(server) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(server)


def running(process: int) -> bool:
    """Whether there is such a process, a dead one that nobody has asked after not counted."""
    status = Path(f"/proc/{process}/stat")
    return os.path.exists(status) and status.read_text().rpartition(")")[2].split()[0] != "Z"
