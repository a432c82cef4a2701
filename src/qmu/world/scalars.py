"""One number, in whatever a world may hold it: a float, an array, a tensor."""

from typing import Any

import numpy as np

from qmu.parts import NUMBERS


def one_number(value: Any) -> float | None:
    """Return the number that something is, or an array holds as its only one; None if it is not.

    What is masked is no number.
    """
    try:
        array = np.asanyarray(value)
    except Exception:
        return item_of(value)
    if array.size != 1 or array.dtype.kind not in NUMBERS or np.ma.is_masked(array):
        return None
    return float(array.reshape(-1)[0])


def item_of(value: Any) -> float | None:
    """Return the number in a tensor that is not on the host, or has a gradient; None if it has not.

    They raise errors of their own kinds.
    """
    try:
        return float(value.item())
    except Exception:
        return None
