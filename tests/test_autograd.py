"""Gradients of networks that change in place what was saved for backward."""

from __future__ import annotations

import torch
from psld.runtime.autograd import cloning_before_mutation


def test_a_saved_tensor_gives_up_its_name_once_it_is_cloned():
    """Nothing holds it any more: another tensor may come to lie where it lay, under its identity."""
    x = torch.ones(64, requires_grad=True)
    with cloning_before_mutation() as context:
        saved = x * 2
        name, total = (id(saved), saved.data_ptr(), saved._version), saved.square().sum()
        assert name in context.tid_to_weakhandle
        saved.add_(1)
        assert name not in context.tid_to_weakhandle
        (gradient,) = torch.autograd.grad(total, x)
    torch.testing.assert_close(gradient, torch.full_like(x, 8))
