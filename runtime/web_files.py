"""Help pages and templates for every name that a person may give the pack's folder.

ComfyUI has static routes for both, which aiohttp does not find below a name that a URL has to quote; and the frontend
asks for help below what stands before the first dot of the name. Such folders get routes of their own.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

from aiohttp import web
from server import PromptServer

PACK = Path(__file__).parent.parent


def offer_files() -> None:
    """Adds the routes that ComfyUI's own do not cover, before it starts to serve."""
    if getattr(PromptServer, "instance", None) is None:
        return
    for prefix, folder in missing_routes(PACK.name).items():
        PromptServer.instance.routes.get(prefix + "/{file:.+}")(serving(PACK / folder))


def missing_routes(name: str) -> dict[str, str]:
    """Folders of ours by the route, in aiohttp's syntax, below which the frontend looks for their files in vain."""
    routes = {}
    if quote(name) != name:
        routes[f"/workflow_templates/{pattern(name)}"] = "workflows"
    asked = re.split("[.@]", name)[0]
    if asked and quote(asked) != name:
        routes[f"/extensions/{pattern(asked)}/docs"] = "web/docs"
    return routes


def pattern(name: str) -> str:
    """One part of a route that matches the name: as a variable, for fixed parts are compared as they are quoted."""
    return "{pack:" + re.sub(r"\W", ".", name) + "}"


def serving(folder: Path):
    """The handler of a route, for the files in a folder and below."""

    async def serve(request: web.Request) -> web.FileResponse:
        file = (folder / request.match_info["file"]).resolve()
        if not (file.is_relative_to(folder.resolve()) and file.is_file()):
            raise web.HTTPNotFound
        return web.FileResponse(file)

    return serve
