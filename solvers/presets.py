"""Parameters that suit a method and a kind of measurement, tuned on photos of the embedded prior's training part only.

`benchmarks/README.md` says how. What is not listed runs with the solver's own defaults.
"""

from __future__ import annotations

from ..operators import GaussianBlur, Operator
from .method import Method

PRESETS: dict[str, dict[type[Operator], dict[str, float]]] = {
    "PSLD": {GaussianBlur: {"omega": 0.4}},
    "GML-DPS": {GaussianBlur: {"omega": 0.4}},
    "LDPS": {GaussianBlur: {"omega": 0.4}},
}
"""Method -> class of the operator, the most special first -> what differs from the defaults."""


def preset(name: str, method: Method, operator: Operator) -> dict[str, float]:
    """Every parameter of the method of that name, for measurements by the operator."""
    for kind, values in PRESETS.get(name, {}).items():
        if isinstance(operator, kind):
            return method.parameters | values
    return method.parameters
