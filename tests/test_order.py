"""The order of images: whole epochs, any slicing, and balance between classes."""

from collections import Counter

import numpy as np
import torch

from sagan_core.order import BalancedOrder, ShuffledOrder


def test_every_image_once_per_epoch_in_any_slicing():
    order = ShuffledOrder(10, seed=3)
    stream = torch.cat([order.slice(start, 4) for start in range(0, 40, 4)])
    for epoch in range(4):
        assert sorted(stream[10 * epoch : 10 * epoch + 10].tolist()) == list(range(10))
    assert torch.equal(ShuffledOrder(10, seed=3).slice(7, 20), stream[7:27])
    assert not torch.equal(ShuffledOrder(10, seed=4).slice(0, 20), stream[:20])


def test_classes_are_shown_equally_often_and_each_evenly_within():
    labels = np.array([0] * 7 + [2] * 2 + [5])
    order = BalancedOrder(labels, seed=3)
    assert order.images == 12
    stream = torch.cat([order.slice(start, 5) for start in range(0, 120, 5)])
    for epoch in range(10):
        shown = labels[stream[12 * epoch : 12 * epoch + 12].numpy()]
        assert Counter(shown.tolist()) == {0: 4, 2: 4, 5: 4}
    shown = Counter(stream.tolist())
    assert {shown[index] for index in range(7)} <= {5, 6}
    assert shown[7] == shown[8] == 20
    assert shown[9] == 40
    assert torch.equal(BalancedOrder(labels, seed=3).slice(31, 50), stream[31:81])
    assert not torch.equal(BalancedOrder(labels, seed=4).slice(0, 50), stream[:50])
