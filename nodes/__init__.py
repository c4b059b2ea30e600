"""What ComfyUI sees: one file per menu group; schemas and conversion only."""

from comfy_api.latest import ComfyExtension, io

from . import compare, consistency, estimate, jpeg, loading, measurement, metrics, operators, photo, restore, sampling
from .guard import guarded
from .names import named

GROUPS = (restore, operators, measurement, consistency, jpeg, estimate, photo, sampling, loading, metrics, compare)
NODES = [guarded(named(node)) for group in GROUPS for node in group.NODES]


class PSLDExtension(ComfyExtension):
    """The pack's nodes, listed for ComfyUI."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES
