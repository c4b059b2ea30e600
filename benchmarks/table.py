"""The rows of a quality run as markdown: mean and standard error per task and method."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable
from typing import Any

Row = dict[str, Any]
METRICS = {"psnr": ("PSNR", 2), "ssim": ("SSIM", 3), "lpips": ("LPIPS", 3), "residual_ratio": ("residual", 2)}
PASSES = ("unet_forward", "unet_backward", "decoder", "encoder", "draft")
TITLES = [title for title, _ in METRICS.values()]
HEADER = ("method", "steps", *TITLES, "least gain", "U-Net", "backward", "D", "E", "draft", "s", "CPU s", "n")


def report(document: dict[str, Any]) -> str:
    """The whole file: what it was measured on, a table per task and noise level, and what the columns mean."""
    rows = document["rows"]
    facts = "; ".join(f"{name} {value}" for name, value in document["setting"].items())
    versions = ", ".join(f"{name} {value}" for name, value in document["versions"].items())
    timed_on = usual_device(rows)
    parts = [f"# Quality of restorations\n\n{facts}; {versions}; seconds on {timed_on}.", LEGEND]
    for task, sigma_y in groups(rows, "task", "sigma_y"):
        here = [row for row in rows if (row["task"], row["sigma_y"]) == (task, sigma_y)]
        pinv = {(row["image"], row["seed"]): row["psnr_pinv"] for row in here}
        title = f"## {task}, sigma_y {sigma_y:g}\n\nPSNR of A^+ y: {mean_and_error(list(pinv.values()), 2)}"
        parts.append(f"{title}\n\n{table(here, timed_on)}")
    return "\n\n".join(parts) + "\n"


LEGEND = """Mean ± standard error over n (images x seeds). PSNR in dB; LPIPS with AlexNet; residual is
||y - A x|| / (sigma_y sqrt m), 1 where the measurement is fitted to its noise; least gain is the worst image's PSNR
less that of its A^+ y. Per image: forward and backward passes
of the U-Net, forward passes of decoder (D), encoder (E) and a draft of either, seconds, and CPU seconds, which other
processes on the same machine change less; all of sampling alone. Runs on other devices count in all but the seconds."""


def usual_device(rows: list[Row]) -> str:
    """What most of the rows ran on."""
    return Counter(row["device"] for row in rows).most_common(1)[0][0]


def table(rows: list[Row], timed_on: str) -> str:
    """One markdown table, a line per method, steps and variant, in the order of the rows; seconds of one device."""
    lines = [HEADER, ["---"] + ["--:"] * (len(HEADER) - 1)]
    keyed = [{**row, "variant": variant(row, rows)} for row in rows]
    for method, steps, values in groups(keyed, "method", "steps", "variant"):
        here = [row for row in keyed if (row["method"], row["steps"], row["variant"]) == (method, steps, values)]
        lines.append([f"{method} ({values})" if values else method, str(steps), *cells(here, timed_on)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cells(rows: list[Row], timed_on: str) -> list[str]:
    """The numbers of one line."""
    metrics = [mean_and_error([row[name] for row in rows], digits) for name, (_, digits) in METRICS.items()]
    passes = [number(mean([row["nfe"].get(name, 0) for row in rows]), 0) for name in PASSES]
    failed = sum(row["psnr"] is None for row in rows)
    count = f"{len(rows)}" + (f", {failed} failed" if failed else "")
    timed = [row for row in rows if row["device"] == timed_on]
    seconds = [number(mean([row[name] for row in timed]), 2) for name in ("seconds", "cpu_seconds")]
    gains = [row["psnr"] - row["psnr_pinv"] for row in rows if row["psnr"] is not None]
    return [*metrics, number(min(gains, default=None), 1), *passes, *seconds, count]


def variant(row: Row, rows: list[Row]) -> str:
    """The parameters in which the row differs from others of its method, as one would type them."""
    others = [other["parameters"] for other in rows if other["method"] == row["method"]]
    own = row["parameters"].items()
    return " ".join(f"{name}={value}" for name, value in own if any(other.get(name) != value for other in others))


def groups(rows: list[Row], *names: str) -> list[tuple]:
    """The different values of these fields, in the order of the rows."""
    return list(dict.fromkeys(tuple(row[name] for name in names) for row in rows))


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of what is known."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def mean_and_error(values: list[float | None], digits: int) -> str:
    """Mean ± standard error of what is known; the mean alone where there is one value."""
    known = [value for value in values if value is not None]
    centre = mean(known)
    if len(known) < 2:
        return number(centre, digits)
    return f"{number(centre, digits)} ± {number(standard_error(known), digits)}"


def standard_error(values: list[float]) -> float:
    """Of the mean of two values or more."""
    return statistics.stdev(values) / math.sqrt(len(values))


def number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
