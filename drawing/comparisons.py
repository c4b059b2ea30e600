"""Templates that put results side by side: PSLD's two weights, and ComfyUI's own inpainting on the same mask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .litegraph import NARROW, Node, Note
from .priors import PRIORS, advice, conditionings, loader, sampler, texts, vae
from .restoring import JOBS, photo, restored
from .template import Template
from .trials import operator

PICTURE = 250
"""Width of one of nine, in pixels."""
GAMMAS, OMEGAS = (0.01, 0.1, 1.0), (0.3, 1.0, 3.0)
GRID = "Compare - gamma and omega of PSLD (no download)"
GRID_NOTE = """PSLD with three weights of the gluing, **gamma**, by three of the measurement, **omega**, on one \
measurement and one seed. Only for those who want to see what they do: 0.1 and 1 are the defaults.
"""
STOCK_NOTE = """The same mask, seed and steps: ComfyUI's own inpainting (*Set Latent Noise Mask*), and **Restore \
Photo**, which also keeps every known pixel to the bit. {advice}
"""


def grid() -> Template:
    """Nine restorations of one measurement."""
    noise = {"noise": "gaussian", "sigma": 0.05, "seed": 0}
    nodes = {
        "photo": photo("ldm", "clean"),
        "prior": loader("ldm"),
        "operator": operator("ldm", "super_resolution"),
        "measure": Node("PSLD_Measure", {"image": ("photo", 0), "operator": ("operator", 0), **noise}),
    }
    nodes = {name: replace(node, width=NARROW) for name, node in nodes.items()}
    columns = [[Note(GRID_NOTE, height=180, width=NARROW), "photo"], ["prior", "operator", "measure"]]
    for gamma in GAMMAS:
        columns.append([])
        for omega in OMEGAS:
            words = f"gamma {gamma:g}, omega {omega:g}"
            run = sampler("ldm", method="PSLD", gamma=gamma, omega=omega)
            nodes[f"run {words}"] = Node(run.class_type, run.inputs, words, folded=True, width=PICTURE)
            nodes[words] = Node("PreviewImage", {"images": (f"run {words}", 1)}, words, width=PICTURE)
            columns[-1] += [f"run {words}", words]
    return Template(GRID, nodes, columns)


def stock(prior: str) -> Template:
    """ComfyUI's own inpainting beside Restore Photo."""
    embedded = PRIORS[prior].embedded
    texts_of = {"positive": ("prior", 2), "negative": ("prior", 2)} if embedded else conditionings(prior)
    settings = {"seed": 0, "steps": 20, "cfg": 1.0 if embedded else 7.0, "sampler_name": "euler"}
    settings |= {"scheduler": "normal", "denoise": 1.0}
    nodes = {
        "photo": photo(prior, "hole"),
        "prior": loader(prior),
        **texts(prior),
        "encode": Node("VAEEncode", {"pixels": ("photo", 0), "vae": vae(prior)}),
        "mask": Node("SetLatentNoiseMask", {"samples": ("encode", 0), "mask": ("photo", 1)}),
        "stock": Node("KSampler", {"model": ("prior", 0), **texts_of, "latent_image": ("mask", 0), **settings}),
        "decode": Node("VAEDecode", {"samples": ("stock", 0), "vae": vae(prior)}),
        "shown": Node("PreviewImage", {"images": ("decode", 0)}, "ComfyUI's own inpainting"),
        "restore": restored(prior, JOBS["Erase something"]),
        "save restored": Node(
            "SaveImage", {"images": ("restore", 0), "filename_prefix": "psld/compared"}, "Restore Photo"
        ),
    }
    note = Note(STOCK_NOTE.format(advice=advice(prior)), height=200)
    columns = [
        [note, "photo", "prior", "positive", "negative"],
        ["encode", "mask", "stock", "decode"],
        ["restore"],
        ["shown", "save restored"],
    ]
    return Template(f"Compare - inpainting by ComfyUI itself ({PRIORS[prior].words})", nodes, columns)


def templates() -> Iterator[Template]:
    """The grid, and inpainting with the embedded prior and with SD 1.5."""
    yield grid()
    for prior in ("ldm", "sd15"):
        yield stock(prior)
