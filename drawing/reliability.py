"""docs/reliability.md: what is tested against faults, and what was measured, from the tests' data and the results."""

from __future__ import annotations

import json
from typing import Any

from ..devkit import ROOT

PAGE = ROOT / "docs" / "reliability.md"
TABLE = ROOT / "tests" / "bad_inputs.json"
RESULTS = ROOT / "benchmarks" / "results" / "reliability_cpu.json"


def write() -> str:
    """Writes the page."""
    PAGE.write_text(page())
    return str(PAGE)


def page() -> str:
    """The page's text."""
    rows, found = json.loads(TABLE.read_text()), json.loads(RESULTS.read_text())
    soak, ray, fuzz, kills, disk = (found[name] for name in ("soak", "ray", "fuzz", "kills", "full_disk"))
    long = found["soak_with_history"]
    versions = "\n".join(version(row) for row in found["versions"])
    seconds = ", ".join(f"{kind} {value}" for kind, value in soak["median_seconds"].items())
    return f"""# Reliability

What can go wrong, what happens then, and how it is known. Figures are in `benchmarks/results/reliability_cpu.json`.

## Bad inputs

Every input of every node is checked against the node's schema before the node runs (`nodes/guard.py`): ComfyUI's server
checks widgets, but not what comes over a link, and it lets NaN pass. The table `tests/bad_inputs.json` has more
than {len(rows) // 100 * 100} rows, for every input of every node; each is answered by one sentence that names the
input, what was found and what to give instead. `tests/test_server.py` sends sixty of them to a real server.

Hypothesis called operator nodes {fuzz["calls"]:,} times with odd values: {fuzz["refused"]:,} calls were refused with a
sentence, the others ran, none ended in an error of torch's or Python's. The tests do 200 of them.

## Faults

`tests/test_faults.py`: an exception in model, encoder, decoder, operator and callback at the first, middle and last
call, no memory left and a cancel at the first and middle one, for Glued MAP, PSLD and Proximal gluing. Afterwards a
stock KSampler and a second run of ours give the same picture to the bit. The same after models were unloaded (`/free`),
after another model shared the weights, and where another pack had switched gradients off. Cancel reaches conjugate
gradients and the last step too: long loops of operators poll (`operators/polling.py`).

## Files

`tests/test_hostile_files.py`: pickle bombs, forged headers, files cut off at any place, zips with names outside, absurd
configs, metadata, shapes and NaN weights. All are refused with a sentence, and no code of theirs runs.

## A folder of photos

`python3 dev.py restore FOLDER --workflow FILE.json --out DIR` puts every photo through an API-format workflow with one
Load Image. A photo's files are written under other names, then noted in `journal.jsonl`, then named: what has a name is
whole, and what is noted is never done twice. The same command goes on where the last one ended. A broken photo is
noted and costs itself; one on which three servers ended is given up. `--server HOST:PORT ...` uses servers that run.

- Killed at random moments and started again, {kills["kills"]} times in {kills["photos"]} photos:
  {kills["missing"] or "none"} missing, {kills["twice"] or "none"} twice, {kills["half_written"] or "none"} half-written
  (`tests/test_restore.py` does it again, through a real server).
- On a file system of {disk["kib"]} KiB the run ended at the first photo without room, {disk["restored_before"]} of
  {disk["photos"]} restored and {disk["failed"] or "none"} noted as failed; with more room the same command did the
  other {disk["restored_after_room_was_made"]}.
- `--ray auto` or an address: a server of its own on every GPU of a Ray cluster, or on every machine.
  {ray["nodes"]} nodes on one machine, {ray["photos"]} photos, killed (`kill -9`) {" and ".join(ray["killed"])}:
  {ray["restored"]} came out, {"byte-identical to" if ray["identical"] else "not the same as"} one server's.
  On the same two shared cores {ray["photos_a_minute"]:.0f} photos a minute, servers' restarts included; one server did
  {ray["photos_a_minute_one_server"]:.0f}: more servers than cores gain nothing.
  Each machine has this checkout at the same path, set up, and Ray started from its `.venv`.

## Soak

`python3 dev.py soak --minutes {soak["minutes"]}`, {len(soak["clients"])} clients at once, on {soak["where"]}:
{soak["prompts"]} prompts, five restorations with four methods, stock sampling, cancels, bad inputs.
{len(soak["wrong"]) or "Nothing"} went wrong; after the first 50 prompts memory went from {soak["memory_mib"][0]:,} to
{soak["memory_mib"][1]:,} MiB ({soak["drift_percent"]} %); the slowest cancel took {soak["slowest_cancel_seconds"]} s;
the picture asked for first and last was the same. Median seconds:
{seconds}.
Processor seconds of a restoration changed by {soak["time_growth_percent"]} % from the fifth of the prompts after the
warm-up to the last one, those of ComfyUI's own KSampler by {soak["stock_growth_percent"]} %, on a machine
that others used.

ComfyUI keeps the last 10,000 prompts in its history, which the soak takes its own out of; with them left in,
{long["prompts"]:,} prompts in {long["minutes"]} minutes, nothing wrong, grew the server from
{long["memory_mib"][0]:,} to {long["memory_mib"][1]:,} MiB.

## Versions

`python3 dev.py matrix PATH...` loads the pack, runs the workflows of the embedded prior between two stock samplings,
and reads the log. A checkout's own `.venv` is used where it has one.

| ComfyUI | nodes | workflows run | stock sampling the same | complaints in the log | with |
|---|---|---|---|---|---|
{versions}

## Not shown

A GPU's own ways of running out of memory; Ray over real machines.
"""


def version(row: dict[str, Any]) -> str:
    """A row of the table of versions."""
    same = "yes" if row["stock_equal"] else "no"
    cells = [row["comfyui"], row["nodes"], row["workflows"], same, row["log_complaints"], row["python"]]
    return f"| {' | '.join(map(str, cells))} |"
