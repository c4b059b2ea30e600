"""`dev.py bench quality --suite FILE`: the same run on several priors, each with photos of its kind, and one table."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..devkit import DevError
from . import protocol
from .table import Row, groups, mean, standard_error
from .tasks import TASKS

KEYS = {"checkpoint": str, "images": str, "size": int, "limit": int, "tasks": list}
"""What a suite may say of each prior, as the options of the same names; only checkpoint is a must."""


def run(args: argparse.Namespace) -> int:
    """OUT_<prior>.json, its table and its sheets for each prior, and OUT.md of all; 0 as exit code."""
    out, documents = Path(args.out), {}
    for wish in read_suite(Path(args.suite)):
        prior = Path(wish["checkpoint"]).stem
        file = out.with_name(f"{out.stem}_{prior}.json")
        protocol.run(argparse.Namespace(**{**vars(args), **wish, "out": str(file)}))
        documents[prior] = json.loads(file.read_text())
    text = summary(documents)
    out.with_suffix(".md").write_text(text)
    print(f"\n{text}\n{out.with_suffix('.md')}")
    return 0


def read_suite(path: Path) -> list[dict[str, Any]]:
    """The file's list of priors, with paths as seen from its folder. Raises DevError for what is no such list."""
    try:
        wishes = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DevError(f"--suite: {path} cannot be read as JSON ({error}); give a list of priors.") from error
    for wish in wishes if isinstance(wishes, list) else [None]:
        valid = isinstance(wish, dict) and all(isinstance(v, KEYS.get(k, ())) for k, v in wish.items())
        if not valid or "checkpoint" not in wish:
            raise DevError(f"--suite: {wish!r} in {path} is no prior; give each some of {', '.join(KEYS)}.")
        if any(task not in list(TASKS) for task in wish.get("tasks", [])):
            raise DevError(f"--suite: tasks in {path} are {wish['tasks']}; choose of {', '.join(TASKS)}.")
    names = [Path(wish["checkpoint"]).stem for wish in wishes]
    if len(set(names)) < len(names):
        raise DevError(f"--suite: two checkpoints in {path} have one name, {', '.join(names)}; rename one.")
    return [{k: str(path.parent / v) if k in ("checkpoint", "images") else v for k, v in w.items()} for w in wishes]


def summary(documents: dict[str, dict[str, Any]]) -> str:
    """The result files of several priors as one page: means, and differences to the first method."""
    parts = ["# Quality of restorations, by prior", LEGEND]
    for prior, document in documents.items():
        facts = "; ".join(f"{key} {value}" for key, value in document["setting"].items())
        parts.append(f"## {prior}\n\n{facts}.\n\n{table(document['rows'])}")
    return "\n\n".join(parts) + "\n"


def table(rows: list[Row]) -> str:
    """A line for each method, a column for each task, and one of all tasks."""
    tasks = groups(rows, "task", "sigma_y")
    first, *others = (by_task(rows, *method, tasks) for method in groups(rows, "method", "steps"))
    titles = [*(f"{task}, {sigma_y:g}" for task, sigma_y in tasks), "all"]
    lines = [["method", *titles], ["---", *["--:"] * len(titles)], [name(first), *map(value, first)]]
    for columns in others:
        lines += [[name(columns), *map(value, columns)], ["", *map(less, columns, first)]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


LEGEND = """PSNR in dB / LPIPS x 1000 (AlexNet) by task and sigma_y. Below each method but the first: its values less
those of the first, image by image, with the standard error of the mean; more PSNR and less LPIPS are better. The last
column is of all tasks that the method ran on."""


def by_task(rows: list[Row], method: str, steps: int, tasks: list[tuple[str, float]]) -> list[list[Row]]:
    """The method's rows on each task, and on all."""
    own = [row for row in rows if (row["method"], row["steps"]) == (method, steps)]
    return [*([row for row in own if (row["task"], row["sigma_y"]) == task] for task in tasks), own]


def name(columns: list[list[Row]]) -> str:
    row = columns[-1][0]
    return f"{row['method']}@{row['steps']}"


def value(rows: list[Row]) -> str:
    """The means."""
    psnr, lpips = (mean(row[key] for row in rows) for key in ("psnr", "lpips"))
    return "-" if psnr is None else f"{psnr:.2f} / {1000 * lpips:.0f}"


def less(rows: list[Row], others: list[Row]) -> str:
    """Mean of what rows differ in from the others of the same image, task and seed, with its standard error."""
    known = {same(row): row for row in others}
    pairs = [(row, known[same(row)]) for row in rows if same(row) in known]
    texts = []
    for key, unit, digits in (("psnr", 1, 2), ("lpips", 1000, 0)):
        found = [unit * (a[key] - b[key]) for a, b in pairs if None not in (a[key], b[key])]
        if len(found) < 2:
            return "-"
        texts.append(f"{mean(found):+.{digits}f} ({standard_error(found):.{digits}f})")
    return " / ".join(texts)


def same(row: Row) -> tuple:
    """What two methods must share to be compared."""
    return row["task"], row["sigma_y"], row["image"], row["seed"]
