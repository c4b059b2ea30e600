"""What a node must not take is answered by one sentence: the table in bad_inputs.json, and what hypothesis thinks up.

A row is [node, input, value, words of the answer]; "@..." values are in bad_values.py.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psld.devkit import ROOT
from psld.drawing import reliability
from psld.nodes.operators import NODES as OPERATORS
from psld.tests.bad_values import INPUTS, NODE, good, run, value

ROWS = json.loads((ROOT / "tests" / "bad_inputs.json").read_text())
BY_NODE: dict[str, list] = defaultdict(list)
for row in ROWS:
    BY_NODE[row[0]].append(row)


def answer(name: str, inputs: dict[str, Any]) -> str | None:
    """The sentence with which a node refuses its inputs; None where it takes them. Anything else is raised."""
    try:
        run(name, inputs)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", BY_NODE)
def test_the_table(name):
    assert answer(name, good(name)) is None
    for _, key, written, words in BY_NODE[name]:
        said = answer(name, good(name) | {key: value(written)})
        assert said and said.startswith(f"{key}:") and words in said and said.endswith("."), (key, written, said)


def test_the_table_has_every_input_of_every_node():
    listed = {(name, key) for name, key, *_ in ROWS}
    assert {(name, key) for name, inputs in INPUTS.items() for key in inputs} - listed == set()


@pytest.mark.parametrize("name", NODE)
def test_what_is_not_given_is_asked_for(name):
    for key, known in INPUTS[name].items():
        inputs = {other: given for other, given in good(name).items() if other != key}
        said = answer(name, inputs)
        assert said is None or said.startswith(f"{key}:")
        assert said or known.optional or getattr(known, "default", None) is not None


def test_the_page_is_what_is_written_from_the_table_and_the_results():
    assert reliability.PAGE.read_text() == reliability.page()


def odd_values(known: Any) -> st.SearchStrategy:
    """Values at, near and beyond what an input takes, and of other types."""
    numbers = [math.nan, math.inf, -math.inf, 10**30]
    strange = st.sampled_from([None, "", "many", [], {}, *numbers, "@IMAGE", "@MASK", "@VAE"])
    low, high = getattr(known, "min", None), getattr(known, "max", None)
    if low is None or high is None:
        return strange
    few = min(high, 300)
    near = st.sampled_from([low, low + 1, few, few - 1, high + 1, low - 1])
    inside = st.floats(low, few) if isinstance(low, float) else st.integers(low, few)
    return st.one_of(near, inside, inside, strange)


@st.composite
def strange_calls(draw) -> tuple[str, dict[str, Any]]:
    """An operator node, some of its inputs odd."""
    name = draw(st.sampled_from([node.GET_SCHEMA().node_id.removeprefix("PSLD_") for node in OPERATORS]))
    keys = draw(st.lists(st.sampled_from(sorted(INPUTS[name])), max_size=3, unique=True)) if INPUTS[name] else []
    return name, {key: draw(odd_values(INPUTS[name][key])) for key in keys}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(strange_calls())
def test_strange_inputs_work_or_are_refused_with_a_sentence(strange):
    name, odd = strange
    said = answer(name, good(name) | {key: value(written) for key, written in odd.items()})
    assert said is None or (len(said.split()) > 5 and said.endswith(".")), said
