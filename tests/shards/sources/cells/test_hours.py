"""Which pages lie in a window of hours, by hand."""

import numpy as np

from tarpon.shards.sources.cells.source import select_hours


def test_windows_by_hand():
    hours = np.arange(10) / 2

    def chosen(window, **options):
        return (2 * hours[select_hours(hours, window, frames_per_hour=2, **options)]).astype(int).tolist()

    assert chosen((1, 2)) == [2, 3, 4]  # both ends
    assert chosen((0.9, 2.4)) == [1, 2, 3, 4]  # rounded down to pages
    assert chosen((0, 99), stride=4) == [0, 4, 8]
    assert chosen((0.5, 3), stride=2) == [1, 3, 5]
    assert chosen((0, 0)) == [0]
    assert chosen((50, 60)) == []
    assert chosen((-3, 0.5)) == [0, 1]
    tenths = np.arange(40) / 30
    assert select_hours(tenths, (0.1, 0.1), frames_per_hour=30).nonzero()[0].tolist() == [3]
