"""How long an operator's forward, adjoint and pseudo-inverse take, beside deepinv's where it has the same operator.

Both are timed in turns, call by call, after a first call that fills every cache; the median of the repeats counts.
A row of the JSON is {"operator", "call", "size", "batch", "ms", "ms_deepinv", "ratio", "device"}: milliseconds for
(batch, 3, size, size) images in float32, and ratio = ms / ms_deepinv; null where deepinv has no counterpart.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .hardware import device_name
from .operator_cases import CASES, Case

Row = dict[str, Any]
CALLS = ("forward", "adjoint", "pinv")
DEEPINV_CALLS = ("A", "A_adjoint", "A_dagger")
PATIENCE = 10.0  # seconds for one row: slow calls are repeated less often, the slowest not at all


def main(args: argparse.Namespace) -> int:
    """Prints a Markdown table; `args.out` grows with it, so that a run that is cut short keeps its rows."""
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    rows: list[Row] = []
    print("| operator | call | size | batch | ms | deepinv ms | ratio |\n|---|---|--:|--:|--:|--:|--:|")
    for case in CASES:
        if args.only and not any(word in case.name for word in args.only):
            continue
        for size in args.sizes:
            for row in measure(case, size, args.batches, args.repeats, device):
                rows.append(row)
                print(markdown(row), flush=True)
        if args.out:
            Path(args.out).write_text("[\n" + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n]\n")
    print(f"\n{verdict(rows)} ({device_name(device)})")
    return 0


def measure(case: Case, size: int, batches: Sequence[int], repeats: int, device: torch.device) -> list[Row]:
    """The rows of one operator at one size."""
    shape = (3, size, size)
    ours, theirs = case.ours(shape), case.deepinv(shape, device) if case.deepinv else None
    rows = []
    for batch in batches:
        x = pictures(batch, shape).to(device)
        with torch.no_grad():
            sides = [calls(ours, CALLS, x)] + ([calls(theirs, DEEPINV_CALLS, x)] if theirs else [])
            for call, *rivals in zip(CALLS, *sides, strict=True):
                ms, other = [*time_in_turns(rivals, repeats, device), None][:2]
                row = {"operator": case.name, "call": call, "size": size, "batch": batch, "ms": ms, "ms_deepinv": other}
                rows.append({**row, "ratio": round(ms / other, 3) if other else None, "device": device_name(device)})
    return rows


def pictures(batch: int, shape: Sequence[int]) -> torch.Tensor:
    """Noise with the spectrum of photographs, 1 / frequency, in [-1, 1]: what it takes to iterate depends on it."""
    noise = torch.fft.rfft2(torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0)))
    rows, columns = torch.fft.fftfreq(shape[-2]), torch.fft.rfftfreq(shape[-1])
    frequency = torch.hypot(rows[:, None], columns).clamp_min(1 / min(shape[-2:]))
    x = torch.fft.irfft2(noise / frequency, s=shape[-2:])
    return x / x.abs().amax((-3, -2, -1), keepdim=True)


def calls(operator: Any, names: Sequence[str], x: torch.Tensor) -> list[Callable[[], Any]]:
    """The three calls: one takes the image, the others its measurement."""
    y = getattr(operator, names[0])(x)
    return [partial(getattr(operator, name), v) for name, v in zip(names, (x, y, y), strict=True)]


def time_in_turns(rivals: Sequence[Callable[[], Any]], repeats: int, device: torch.device) -> list[float]:
    """The median milliseconds of each, without the first call's where there are others."""
    times = [[seconds(call, device) for call in rivals]]
    repeats = min(repeats, int(PATIENCE / sum(times[0])))
    if repeats:
        times = [[seconds(call, device) for call in rivals] for _ in range(repeats)]
    return [round(1e3 * statistics.median(column), 3) for column in zip(*times, strict=True)]


def seconds(call: Callable[[], Any], device: torch.device) -> float:
    """The wall-clock time of one call, with all that it started on the device."""
    synchronise = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    synchronise()
    start = time.perf_counter()
    call()
    synchronise()
    return time.perf_counter() - start


def markdown(row: Row) -> str:
    """One row of the table."""
    cells = [row["operator"], row["call"], row["size"], row["batch"], f"{row['ms']:.1f}"]
    other = ["-", "-"] if row["ratio"] is None else [f"{row['ms_deepinv']:.1f}", f"{row['ratio']:.2f}"]
    return f"| {' | '.join(map(str, [*cells, *other]))} |"


def verdict(rows: Sequence[Row]) -> str:
    """The comparison in one sentence."""
    ratios = [row["ratio"] for row in rows if row["ratio"] is not None]
    if not ratios:
        return "Nothing here has a counterpart in deepinv"
    slower = sum(ratio > 1 for ratio in ratios)
    median = statistics.median(ratios)
    return f"{len(ratios)} rows beside deepinv: median ratio {median:.2f}, worst {max(ratios):.2f}, {slower} above 1"
