"""An optimizer step is the same however many batches its rows come in, for every kind of loss.

Through Lightning's Trainer, in single precision: the largest difference of any gradient entry is told in units of the
largest entry, so that a loss of small gradients is held to the same.
"""

from __future__ import annotations

import pytest
import torch

from distill.data import InstructionData
from distill.features import FEATURE_LOSSES, FeatureTerm
from distill.losses import LossTerm
from tests import plain_loop
from tests.plain_loop import RECORDS, Ground, distiller, fit

ground = plain_loop.ground
LOSSES: dict[str, tuple[str, list[LossTerm], list[FeatureTerm]]] = {
    "forward_kl": ("same", [LossTerm("forward_kl")], []),
    "jsd": ("same", [LossTerm("jsd")], []),
    "reverse_kl": ("same", [LossTerm("reverse_kl", temperature=2.0)], []),
    "aligned forward_kl": ("other", [LossTerm("forward_kl")], []),
    "alm": ("other", [LossTerm("alm")], []),
    "features": ("other", [LossTerm("ce", 1e-6)], [FeatureTerm(loss, 0.2, "1:2") for loss in FEATURE_LOSSES]),
}


@pytest.mark.parametrize("name", LOSSES)
def test_micro_batches_are_one_batch(name: str, ground: Ground) -> None:
    """Two batches of three rows and six of one row each, of 2 to 60 supervised tokens."""
    teacher, losses, features = LOSSES[name]
    found = []
    for parts in (1, 2, 6):
        model = distiller(ground, losses, getattr(ground, teacher), features=features)
        data = InstructionData(ground.train, batch_size=len(RECORDS) // parts)
        catch, _ = fit(model, data, accumulate=parts)
        found += catch.gradients
    whole, *others = found
    largest = max(float(value.abs().max()) for value in whole.values())
    assert largest > 1e-4
    for some in others:
        assert some.keys() == whole.keys()
        gap = max(float((some[key] - value).abs().max()) for key, value in whole.items())
        assert gap <= 1e-6 * largest
        assert any(not torch.equal(some[key], value) for key, value in whole.items())  # it did come in parts
