"""Pictures larger than what a model was trained on: it sees overlapping windows, and what it says of them is averaged.

MultiDiffusion (Bar-Tal et al. 2023, arXiv 2302.08113) for z0_hat, so that a solver sees one denoiser of the whole
latent. It hangs where ComfyUI cuts videos into windows of frames (`context_handler`): noise masks, guidance and
everything patched around it act on the whole picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import comfy.conds
import comfy.context_windows
import comfy.model_base
import comfy.model_management
import comfy.supported_models
import comfy.utils
import torch
from torch import Tensor

from .grid import Grid, Window, blend
from .ldm import LDMModel
from .sizes import sizes_of

OVERLAP = 4
"""A window shares a fourth of its side with the next."""

ONE_PASS = 1.5
"""Up to so many times the area, and the side, that a model was trained on, it sees a picture as a whole."""

LEAST = 8
"""Latents along the side of a window: what U-Nets and transformers halve is a multiple of it."""

MOST_AT_ONCE = 8


def own_size(model: comfy.model_base.BaseModel, factor: int) -> int:
    """Pixels along the side of the pictures that a model was trained on; a latent covers `factor` of them."""
    config = model.model_config
    known = comfy.supported_models
    if isinstance(model, LDMModel):
        return model.side * factor
    if isinstance(config, known.SD15):
        return 512
    if isinstance(config, known.SD20):
        return 768 if model.model_type == comfy.model_base.ModelType.V_PREDICTION else 512
    if isinstance(config, known.PixArtAlpha):
        return int(512 * (config.unet_config.get("pe_interpolation") or 2))
    if isinstance(config, getattr(known, "HunyuanImage21", ())):
        return 2048
    return 1024


def window_grid(shape: tuple[int, int], model: comfy.model_base.BaseModel, factor: int, window: int) -> Grid | None:
    """The windows for latents (h, w) at `factor` pixels each; None where one pass does.

    window: pixels; 0: the size the model was trained on, where the picture is well above it. ValueError for a window
    that is too small.
    """
    if window < 0 or 0 < window < LEAST * factor:
        raise ValueError(
            f"window: {window} pixels; choose 0 (the model's own size) or at least {LEAST * factor} for this model."
        )
    side = (window or own_size(model, factor)) // factor // LEAST * LEAST
    height, width = shape
    if max(height, width) <= side:
        return None
    if window == 0 and height * width <= ONE_PASS * side**2 and max(height, width) <= ONE_PASS * side:
        return None
    return Grid((height, width), side, side // OVERLAP)


class Windows(comfy.context_windows.ContextHandlerABC):
    """ComfyUI's conditioned denoisers, window by window."""

    def __init__(self, grid: Grid, at_once: int) -> None:
        """at_once: windows in one batch; ControlNets get one."""
        self.grid, self.at_once = grid, at_once
        self.hints: dict[int, list[Tensor]] = {}

    def should_use_context(self, model, conds, x_in: Tensor, timestep: Tensor, model_options: dict) -> bool:
        return tuple(x_in.shape[-2:]) == self.grid.shape

    def get_resized_cond(self, cond_in: list[dict], x_in: Tensor, window: Window, device=None) -> list:
        return cut_conds(cond_in, [window], self.grid.shape, x_in)

    def cut(self, model, conds: Sequence[dict], windows: Sequence[Window], x: Tensor) -> list[dict]:
        """Conditionings for a batch of these windows of x, told of sizes that are theirs."""
        local = cut_conds(conds, windows, self.grid.shape, x)
        return [c | {"model_conds": c["model_conds"] | sizes_of(model, c, windows, len(x))} for c in local]

    def execute(self, calc_cond_batch: Callable, model, conds, x_in: Tensor, timestep: Tensor, model_options: dict):
        controls = control_chain(conds)
        masked = [None if cond is None else [area_as_mask(c, x_in) for c in cond] for cond in conds]

        def denoise(pieces: Tensor, windows: Sequence[Window]) -> Tensor:
            local = [None if cond is None else self.cut(model, cond, windows, x_in) for cond in masked]
            times = timestep.repeat(len(windows))
            with self.hints_of(controls, windows[0]):
                return torch.stack(calc_cond_batch(model, local, pieces, times, model_options), dim=1)

        at_once = 1 if controls or x_in.requires_grad else self.at_once
        return list(blend(x_in, self.grid, self.grid, denoise, at_once).unbind(1))

    @contextmanager
    def hints_of(self, controls: Sequence, window: Window) -> Iterator[None]:
        """Inside, each ControlNet (and what it concatenates) shows the part of its picture under the window."""
        before = [(control, control.cond_hint_original, control.extra_concat_orig) for control in controls]
        try:
            for control in controls:
                ratio = hint_ratio(control)
                if id(control) not in self.hints:
                    self.hints[id(control)] = whole_hints(control, self.grid.shape, ratio)
                hint, *extra = (window.cut(picture, ratio) for picture in self.hints[id(control)])
                control.cond_hint_original, control.extra_concat_orig, control.cond_hint = hint, extra, None
            yield
        finally:
            for control, hint, extra in before:
                control.cond_hint_original, control.extra_concat_orig, control.cond_hint = hint, extra, None


def check_windows(conds: Mapping[str, Sequence[dict]], model_options: Mapping, shape: tuple[int, int]) -> None:
    """ValueError, in a sentence for the user, for what cannot be cut into windows of latents (h, w)."""
    way_out = "disconnect it, or set window to the size of the picture for one pass."
    whole = f"made for the whole picture, not for windows; {way_out}"
    if "context_handler" in model_options:
        raise ValueError(f"model: a context windows node is attached, and the picture needs its own; {way_out}")
    if "sampler_calc_cond_batch_function" in model_options:
        raise ValueError(f"model: a patch replaces how it is evaluated and would miss the windows; {way_out}")
    patches = model_options.get("transformer_options", {}).get("patches", {})
    if any(getattr(patch, "image", None) is not None for kind in patches.values() for patch in kind):
        raise ValueError(f"model: a patch shows it a picture (a control of Qwen-Image, Z-Image or Anima), {whole}")
    for name, cond in ((name, c) for name, parts in conds.items() for c in parts or ()):
        if "gligen" in cond:
            raise ValueError(f"{name}: it has GLIGEN boxes, {whole}")
        if any(of_another_size(value, shape) for value in cond.get("model_conds", {}).values()):
            raise ValueError(f"{name}: it has a reference image, {whole}")


def cut_conds(conds: Sequence[dict], windows: Sequence[Window], shape: tuple[int, int], x: Tensor) -> list[dict]:
    """Conditionings for a batch of these windows of x; without those whose mask leaves all of them out."""

    def cut(value: Tensor) -> Tensor:
        return torch.cat([comfy.utils.repeat_to_batch_size(window.cut(value), len(x)) for window in windows])

    local = []
    for cond in conds:
        model_conds = {
            name: value._copy_with(cut(value.cond)) if covers(value.cond, shape) else value
            for name, value in cond["model_conds"].items()
        }
        part = cond | {"model_conds": model_conds}
        if "mask" in cond:
            part["mask"] = cut(cond["mask"])
            if not part["mask"].any():
                continue
        local.append(part)
    return local


def covers(value: object, shape: tuple[int, int]) -> bool:
    """Whether a value of a conditioning has an entry at each latent (as what inpainting models concatenate)."""
    return isinstance(value, Tensor) and value.ndim >= 4 and tuple(value.shape[-2:]) == shape


def of_another_size(value: comfy.conds.CONDRegular, shape: tuple[int, int]) -> bool:
    """Whether a value of a conditioning is a picture, or several, with no entry for each latent."""
    noise_shape = isinstance(value, comfy.conds.CONDNoiseShape) and not covers(value.cond, shape)
    return noise_shape or isinstance(value, comfy.conds.CONDList)


def area_as_mask(cond: dict, x: Tensor) -> dict:
    """A conditioning whose rectangle, in latents, is a mask with ComfyUI's soft edge (`get_area_and_mult`)."""
    if "area" not in cond:
        return cond
    cond = dict(cond)
    area = cond.pop("area")
    (height, width), (top, left) = area[len(area) // 2 - 2 : len(area) // 2], area[-2:]
    soft = "mask" not in cond
    mask = edge(height, top, x.shape[-2], soft)[:, None] * edge(width, left, x.shape[-1], soft)
    mask = mask.to(x).reshape(1, *[1] * (x.ndim - 4), *mask.shape)
    cond["mask"] = mask if soft else mask * cond["mask"].to(x)
    return cond


def edge(size: int, start: int, length: int, soft: bool) -> Tensor:
    """(length,): one from start on for size, faded in and out over 8 latents where it does not end with the picture."""
    size = min(size, length - start)
    inside = torch.ones(size)
    fade = min(8, size // 4) if soft else 0
    ramp = torch.arange(1, fade + 1) / max(fade, 1)
    if start != 0:
        inside[:fade] *= ramp
    if start + size < length:
        inside[size - fade :] *= ramp.flip(0)
    return torch.nn.functional.pad(inside, (start, length - start - size))


def control_chain(conds: Sequence[Sequence[dict] | None]) -> list:
    """Every ControlNet of the conditionings, once."""
    found: dict[int, object] = {}
    for control in (cond.get("control") for part in conds for cond in part or ()):
        while control is not None:
            found[id(control)] = control
            control = control.previous_controlnet
    return list(found.values())


def hint_ratio(control) -> int:
    """Pixels of a ControlNet's picture to a latent, by the side."""
    return control.compression_ratio * (control.vae.spacial_compression_encode() if control.vae is not None else 1)


def whole_hints(control, shape: tuple[int, int], ratio: int) -> list[Tensor]:
    """A ControlNet's picture and its further inputs at the size that it would scale them to for the whole latent."""
    height, width = shape[0] * ratio, shape[1] * ratio
    pictures = [control.cond_hint_original, *control.extra_concat_orig]
    return [comfy.utils.common_upscale(p, width, height, control.upscale_algorithm, "center") for p in pictures]


def windows_at_once(model: comfy.model_base.BaseModel, x: Tensor, grid: Grid, free: float) -> int:
    """How many windows of all samples of x fit a batch; one on a CPU, which gains nothing by more."""
    if comfy.model_management.is_device_cpu(x.device):
        return 1
    one = model.memory_required([len(x), x.shape[1], *(min(grid.size, side) for side in grid.shape)])
    return max(1, min(MOST_AT_ONCE, int(free / 4 / one)))
