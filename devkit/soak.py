"""`dev.py soak`: mixed prompts from several clients at once on one server, for as long as one likes, memory watched."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import statistics
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import psutil

from . import ROOT, TASKS, DevError, trial
from .client import Client, Event, Interrupted, Result, Workflow, load_workflow
from .server import Server, comfyui_server
from .stock import stock

OUTPUT = ROOT / "output" / "soak.json"
WARM_UP = 50  # prompts until everything that is kept has been made once
METHODS = ("Glued MAP", "PSLD", "Proximal gluing", "Local MAP")
STOCK = "stock sampling"
MOST_DRIFT = 2.0  # percent, after the warm-up


@dataclass
class Sample:
    """One prompt: its kind, the seconds its nodes ran; the server's memory (MiB) and processor seconds after it."""

    kind: str
    seconds: float
    memory: float
    processor: float


@dataclass
class Log:
    """What has happened so far."""

    samples: list[Sample] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    clients: list[int] = field(default_factory=list)


def main(args: argparse.Namespace) -> int:
    """Runs the soak; 0 when nothing went wrong and memory did not grow."""
    print("starting ComfyUI ...", flush=True)
    with comfyui_server() as server:
        log = asyncio.run(soak(server, 60 * args.minutes, args.clients))
    found = summary(log)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))
    if found["wrong"] or (found["drift_percent"] or 0) > MOST_DRIFT:
        raise DevError(f"The server did not stay as it was; see {OUTPUT} and {server.log}.")
    return 0


async def soak(server: Server, seconds: float, clients: int) -> Log:
    """Sends prompts until the time is over; first and last comes one that has to give the same picture."""
    log, numbers, deadline = Log(), itertools.count(), time.monotonic() + seconds
    first = await reference(server)
    await asyncio.gather(*(client(server, log, numbers, deadline) for _ in range(clients)))
    async with Client(server.address) as last:
        await last.free()
    if await reference(server) != first:
        log.wrong.append("The reference picture is another one at the end.")
    return log


async def reference(server: Server) -> bytes:
    async with Client(server.address) as client:
        workflow = prompt("super_resolution", 0)
        result = await client.run(workflow)
        (save,) = (number for number in workflow if workflow[number]["_meta"]["title"] == "save restored")
        return await client.image(result.outputs[save])


async def client(server: Server, log: Log, numbers: Any, deadline: float) -> None:
    """One person who queues a prompt when the last one is done."""
    done, process = 0, psutil.Process(server.process.pid)
    async with Client(server.address) as connected:
        while time.monotonic() < deadline:
            number = next(numbers)
            kind = random.Random(number).choice([*TASKS, STOCK, "bad input", "cancel"])
            try:
                seconds = await one(connected, kind, number)
            except DevError as error:
                log.wrong.append(f"{kind} {number}: {error}")
                continue
            spent = process.cpu_times()
            log.samples.append(Sample(kind, seconds, process.memory_info().rss / 2**20, spent.user + spent.system))
            done += 1
    log.clients.append(done)


async def one(connected: Client, kind: str, number: int) -> float:
    """Runs a prompt; the seconds its nodes ran. Raises DevError where it does not end as its kind has to."""
    if kind == "cancel":
        return await cancelled(connected, prompt("super_resolution", number, steps=1000))
    if kind == "bad input":
        try:
            await ran(connected, prompt("super_resolution", number, gamma=float("nan")))
        except DevError as error:
            if "gamma: it is nan" in str(error):
                return 0.0
            raise
        raise DevError("a gamma of NaN was taken")
    result = await ran(connected, stock(number, steps=20) if kind == STOCK else prompt(kind, number))
    return sum(result.seconds.values())


async def ran(connected: Client, workflow: Workflow) -> Result:
    """Runs a prompt, and takes it out of ComfyUI's history, which would grow with every one."""
    queued = await connected.queue(workflow)
    try:
        return await connected.finish(workflow, queued)
    finally:
        await connected.forget(queued)


async def cancelled(connected: Client, workflow: Workflow) -> float:
    """Cancels a long prompt in its second step; the seconds it took to end."""
    queued, asked = await connected.queue(workflow), []

    def cancel(event: Event) -> None:
        if event.value == 2 and event.total == 1000 and not asked:
            asked.append((time.monotonic(), asyncio.ensure_future(connected.interrupt(queued))))

    try:
        await connected.finish(workflow, queued, cancel)
    except Interrupted:
        return time.monotonic() - asked[0][0]
    finally:
        await connected.forget(queued)
    raise DevError("a cancelled prompt went on to its end")


def prompt(task: str, number: int, steps: int = 3, **settings: Any) -> Workflow:
    """A workflow of ours with a seed and a method by this number."""
    workflow = load_workflow(ROOT / "workflows" / "api" / f"{trial(task)}.json")
    for node in workflow.values():
        if node["class_type"] == "PSLD_KSampler":
            method = METHODS[number % len(METHODS)]
            node["inputs"].update({"seed": number, "steps": steps, "method": method, **settings})
        if "filename_prefix" in node["inputs"]:
            node["inputs"]["filename_prefix"] = "soak"
    return workflow


def summary(log: Log) -> dict[str, Any]:
    """The figures. Drift and growth compare medians of the fifth after the warm-up and of the last fifth."""
    after = log.samples[WARM_UP:]
    part = max(1, len(after) // 5)
    enough = len(after) >= 50
    early, late = after[:part], after[-part:]
    kinds = sorted({sample.kind for sample in log.samples})
    cancels = [sample.seconds for sample in log.samples if sample.kind == "cancel"]
    return {
        "prompts": len(log.samples), "clients": sorted(log.clients), "wrong": log.wrong,
        "memory_mib": [round(statistics.median(s.memory for s in some)) for some in (early, late)] if enough else None,
        "drift_percent": growth([s.memory for s in early], [s.memory for s in late]) if enough else None,
        "time_growth_percent": growth(work(early, TASKS), work(late, TASKS)) if enough else None,
        "stock_growth_percent": growth(work(early, [STOCK]), work(late, [STOCK])) if enough else None,
        "median_seconds": {kind: median_seconds(log.samples, kind) for kind in kinds},
        "slowest_cancel_seconds": round(max(cancels), 2) if cancels else None,
    }  # fmt: skip


def median_seconds(samples: list[Sample], kind: str) -> float:
    return round(statistics.median(sample.seconds for sample in samples if sample.kind == kind), 2)


def work(samples: list[Sample], kinds: Collection[str]) -> list[float]:
    """Processor seconds of each prompt of these kinds: the server takes one after the other, and a busy machine makes
    them longer by the clock alone."""
    pairs = itertools.pairwise(samples)
    return [sample.processor - before.processor for before, sample in pairs if sample.kind in kinds]


def growth(early: list[float], late: list[float]) -> float | None:
    """How much larger the later median is, in percent."""
    if not early or not late:
        return None
    return round(100 * (statistics.median(late) / statistics.median(early) - 1), 2)
