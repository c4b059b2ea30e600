"""The log of a training as a picture."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

from PIL import Image, ImageDraw

WIDTH, HEIGHT, MARGIN = 360, 220, 36
Curve = list[tuple[float, float]]


def plot(log: Path, file: Path) -> None:
    """One panel for each value in the log, over minutes, three in a row."""
    curves = read(log)
    rows = -(-len(curves) // 3)
    canvas = Image.new("RGB", (3 * WIDTH, max(rows, 1) * HEIGHT), "white")
    for i, (title, curve) in enumerate(curves.items()):
        canvas.paste(panel(title, curve), (i % 3 * WIDTH, i // 3 * HEIGHT))
    canvas.save(file)


def read(log: Path) -> dict[str, Curve]:
    """(minutes, value) by "stage name"."""
    curves: dict[str, Curve] = defaultdict(list)
    with log.open(newline="") as lines:
        for row in csv.DictReader(lines):
            curves[f"{row['stage']} {row['name']}"].append((float(row["minutes"]), float(row["value"])))
    return curves


def panel(title: str, curve: Curve) -> Image.Image:
    """Axes, their ends, and the curve."""
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = MARGIN, MARGIN, WIDTH - 12, HEIGHT - 24
    # The first tenth is a cliff that would flatten all the rest.
    values = sorted(value for _, value in curve[len(curve) // 10 :])
    low, high = values[0], values[-1]
    end = curve[-1][0] or 1.0
    draw.rectangle((left, top, right, bottom), outline="grey")
    points = [(left + (right - left) * minutes / end,
               bottom - (bottom - top) * min(max((value - low) / ((high - low) or 1.0), 0), 1))
              for minutes, value in curve]
    draw.line(points, fill=(30, 90, 200), width=2)
    draw.text((left, 4), f"{title}: {curve[-1][1]:.4g}", fill="black")
    draw.text((left, top - 14), f"{high:.4g}", fill="grey")
    draw.text((left, bottom + 4), f"{low:.4g} at the bottom; {end:.0f} minutes", fill="grey")
    return image
