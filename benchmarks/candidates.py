"""Who competes: the pack's methods by name, and the authors' code as the yardstick."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from comfy.model_sampling import EPS

from ..devkit import DevError
from ..operators import LinearOperator
from ..solvers import METHODS, Method
from . import reference
from .prior import Prior
from .reference import Checkout, TheirOperator
from .tasks import Task

REPRODUCTION = "PSLD reference"
YARDSTICK_STEPS = (1000, 100)
FOR_PIXELS = ("DDRM",)
"""Methods that say nothing useful about a latent model; they run where they are named."""


@dataclass(frozen=True)
class Candidate:
    """A method (of METHODS, or the checkout's sampler) at a number of steps."""

    method: str
    steps: int

    def __str__(self) -> str:
        return f"{self.method}@{self.steps}"

    @property
    def is_yardstick(self) -> bool:
        """Whether it is the authors' update, theirs or reproduced: with their weights, their norms over the whole batch
        (so each image runs alone), and the picture as their decoder gives it."""
        return self.method in (REPRODUCTION, reference.NAME)


def chosen(args: argparse.Namespace) -> list[Candidate]:
    """The candidates of a command line: `--methods NAME[@STEPS] ...`, and the yardstick where `--reference` is given.

    The name "reference" is the checkout or, without one, our reproduction of it. Raises DevError for an unknown name.
    """
    names = args.methods or [name for name in METHODS if name not in (REPRODUCTION, *FOR_PIXELS)]
    if args.reference and not any(name.split("@")[0] == "reference" for name in names):
        names = [*(f"reference@{steps}" for steps in YARDSTICK_STEPS), *names]
    return list(dict.fromkeys(parsed(name, args) for name in names))


def parsed(text: str, args: argparse.Namespace) -> Candidate:
    name, _, steps = text.partition("@")
    if name == "reference":
        name = reference.NAME if args.reference else REPRODUCTION
    elif name not in METHODS:
        raise DevError(f"--methods: {name!r} is not one of {', '.join([*METHODS, 'reference'])}; choose of these.")
    if steps and not steps.isdecimal():
        raise DevError(f"--methods: {text!r} does not end in a number of steps; write it as {name}@100.")
    return Candidate(name, int(steps or args.steps))


def parameters(candidate: Candidate, task: Task, wishes: dict[str, float]) -> dict[str, Any]:
    """A candidate's parameters for the task: its defaults (the authors' own for their update), then the wishes."""
    if candidate.is_yardstick:
        defaults = reference.weights(task.name)
    else:
        defaults = METHODS[candidate.method].parameters
    return {name: type(value)(wishes.get(name, value)) for name, value in defaults.items()}


def build(
    candidate: Candidate, prior: Prior, checkout: Checkout | None, task: Task, A: LinearOperator, sigma_y: float
) -> tuple[Method, LinearOperator | TheirOperator]:
    """The method to run, and the operator it measures with: A, but for the checkout's sampler, which has its own."""
    if candidate.method != reference.NAME:
        return METHODS[candidate.method], A
    if not isinstance(prior.model.get_model_object("model_sampling"), EPS):
        raise DevError("--reference: the authors' code knows no flow models; choose another checkpoint.")
    theirs = reference.their_operator(checkout, task, A, prior.model.load_device)
    noiser = checkout.get_noise("gaussian", sigma=sigma_y)
    first_stage = prior.vae.first_stage_model
    solve = reference.solver(checkout, theirs, prior.training_sigmas, first_stage, noiser, candidate.steps)
    return Method(solve, "the authors' code", True, True), theirs
