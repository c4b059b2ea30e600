"""What every node of the pack has around it.

Its inputs are checked against its schema: the server checks the widgets that a person fills in, but not what comes over
a link, and lets NaN pass. Pictures of half precision (`--fp16-intermediates`) become float32. Cancel reaches its loops.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import torch
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy_api.latest import io
from torch import Tensor

from ..operators.fit import Fit
from ..operators.measurement import Measurement
from ..operators.polling import stoppable
from ..runtime.report import Report


def is_image(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim == 4 and value.numel() > 0


def is_mask(value: Any) -> bool:
    if not isinstance(value, Tensor) or value.is_complex() or not value.numel():
        return False
    one_channel = value.ndim == 4 and 1 in (value.shape[1], value.shape[3])
    return (value.ndim in (2, 3) or one_channel) and bool(value.isfinite().all())


def is_conditioning(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, (list, tuple)) and len(part) == 2 for part in value)


SOCKETS: dict[str, tuple[str, Callable[[Any], bool]]] = {  # type -> what it is called, and whether a value is one
    "IMAGE": ("an IMAGE (batch, height, width, channel) of floating-point numbers", is_image),
    "MASK": ("a MASK (batch, height, width) of finite numbers", is_mask),
    "LATENT": ("a LATENT", lambda value: isinstance(value, dict) and isinstance(value.get("samples"), Tensor)),
    "CONDITIONING": ("a CONDITIONING", is_conditioning),
    "MODEL": ("a MODEL", lambda value: hasattr(value, "model_options") and hasattr(value, "clone")),
    "CLIP": ("a CLIP", lambda value: hasattr(value, "tokenize") and hasattr(value, "encode_from_tokens_scheduled")),
    "VAE": ("a VAE", lambda value: hasattr(value, "decode") and hasattr(value, "first_stage_model")),
    "PSLD_OPERATOR": ("an operator", lambda value: callable(value) and not isinstance(value, type)),
    "PSLD_MEASUREMENT": ("a measurement", lambda value: isinstance(value, Measurement)),
    "PSLD_FIT": ("the fit of a Fit to Model", lambda value: isinstance(value, Fit)),
    "PSLD_REPORT": ("the report of a PSLD KSampler", lambda value: isinstance(value, Report)),
}


def guarded(node: type[io.ComfyNode]) -> type[io.ComfyNode]:
    """The same node: its `execute` refuses with a ValueError what its schema does not allow, and can be cancelled."""
    execute = node.execute.__func__
    parameters = inspect.signature(execute).parameters
    names = [name for name in parameters if name != "cls"]

    @functools.cache
    def inputs() -> dict[str, io.Input]:
        return {known.id: known for known in node.define_schema().inputs}

    @functools.cache
    def takes_lists() -> bool:
        return node.define_schema().is_input_list

    @functools.wraps(execute)
    def run(cls: type[io.ComfyNode], *args: Any, **kwargs: Any) -> io.NodeOutput:
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        for name, known in inputs().items():
            if name in given:
                for value in given[name] if takes_lists() else [given[name]]:
                    check(known, value)
            elif not known.optional and (name not in parameters or parameters[name].default is inspect.Parameter.empty):
                check(known, None)
        with stoppable(throw_exception_if_processing_interrupted):
            return execute(cls, **{name: single_precision(value) for name, value in given.items()})

    node.execute = classmethod(run)
    return node


def single_precision(value: Any) -> Any:
    """A tensor of half precision, or a list of them, in float32; anything else as it is."""
    if isinstance(value, list):
        return [single_precision(part) for part in value]
    return value.float() if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16) else value


def check(known: io.Input, value: Any) -> None:
    """Raises ValueError, naming the input, where `value` is not one for it."""
    if known.io_type in SOCKETS:
        if value is None and known.optional:
            return
        called, fits = SOCKETS[known.io_type]
        if not fits(value):
            found = "nothing is connected" if value is None else f"{found_as(value)} is connected"
            raise ValueError(f"{known.id}: {found}; connect {called}.")
    elif isinstance(known, (io.Int.Input, io.Float.Input)):
        check_number(known, value)
    elif isinstance(known, io.Combo.Input) and not isinstance(value, str):
        raise ValueError(f"{known.id}: it is {found_as(value)}; choose one of the list.")
    elif isinstance(known, io.String.Input) and not isinstance(value, str):
        raise ValueError(f"{known.id}: it is {found_as(value)}; give a text.")
    elif isinstance(known, io.Boolean.Input) and not (isinstance(value, Integral) and value in (0, 1)):
        raise ValueError(f"{known.id}: it is {found_as(value)}; give true or false.")


def check_number(known: io.Int.Input | io.Float.Input, value: Any) -> None:
    """Raises ValueError for what is no number, not whole where it must be, not finite or beyond the limits."""
    whole = isinstance(known, io.Int.Input)
    kind = "whole number" if whole else "number"
    limits = f"{known.min} to {known.max}"
    if not isinstance(value, Integral if whole else Real):
        raise ValueError(f"{known.id}: it is {found_as(value)}; give a {kind} from {limits}.")
    if not math.isfinite(value):
        raise ValueError(f"{known.id}: it is {value}; give a finite number from {limits}.")
    if not (known.min is None or known.min <= value) or not (known.max is None or value <= known.max):
        raise ValueError(f"{known.id}: {value:g} is out of range; give a {kind} from {limits}.")


def found_as(value: Any) -> str:
    """What a value is, as a user would say."""
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, Real):
        return f"the number {value}"
    for called, fits in SOCKETS.values():
        if fits(value):
            return called.split(" (")[0]
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and type {str(value.dtype).removeprefix('torch.')}"
    return "nothing" if value is None else f"a {type(value).__name__}"
