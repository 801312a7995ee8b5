"""Zeros of units that sell for certain: how lost sales show where no row means that a unit sold nothing."""

import numpy as np
from numpy.typing import NDArray

from analysis.panel_data.panel import BoolArray

#: a zero surprises where its predictive probability is below this
SURPRISING = 1e-4
#: of the unit's last so many same weekdays
WEEKS = 8
#: [n] sale events in n days from which on a day without one surprises: with Jeffreys' prior of a Poisson rate the
#: predictive probability is ``(n / (n + 1)) ** (S + 1/2)``
CERTAIN = np.array(
    [np.iinfo(np.int32).max]
    + [int(np.ceil(np.log(SURPRISING) / np.log(n / (n + 1.0)) - 0.5)) for n in range(1, WEEKS + 1)],
    dtype=np.int32,
)


def surprising_zeros(events: NDArray[np.integer], observed: BoolArray, first: int) -> BoolArray:
    """(T - first, n): observed days from row ``first`` on without a sale, of units that sell by their own weekdays.

    ``events``, ``observed`` (T, n), days in order. The rule never looks at arms.
    """
    zero = observed[first:] & (events[first:] == 0)
    if not zero.any():
        return np.asarray(zero)
    weeks, units = -(-len(events) // 7), events.shape[1]
    for weekday in range(7):
        sold = np.zeros(units, dtype=np.int32)
        seen = np.zeros(units, dtype=np.int8)
        for week in range(weeks):
            row = 7 * week + weekday
            if row >= len(events):
                break
            if row >= first:
                here = zero[row - first]
                if here.any():
                    here &= sold >= CERTAIN[seen]
            sold += np.where(observed[row], events[row], 0).astype(np.int32)
            seen += observed[row]
            if week >= WEEKS:
                old = row - 7 * WEEKS
                sold -= np.where(observed[old], events[old], 0).astype(np.int32)
                seen -= observed[old]
    return np.asarray(zero)
