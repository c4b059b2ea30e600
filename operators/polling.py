"""Lets whoever runs an operator stop it: long loops here poll, and know nothing of who listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_stop: ContextVar[Callable[[], None] | None] = ContextVar("stop", default=None)


@contextmanager
def stoppable(stop: Callable[[], None]) -> Iterator[None]:
    """Within this context long loops call `stop` every now and then; it ends them by raising."""
    token = _stop.set(stop)
    try:
        yield
    finally:
        _stop.reset(token)


def poll() -> None:
    """For every pass of a loop that may take long."""
    if stop := _stop.get():
        stop()
