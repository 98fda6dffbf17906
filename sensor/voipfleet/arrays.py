"""What several parts do with NumPy columns."""

import numpy as np


def run_starts(column: np.ndarray) -> np.ndarray:
    """Where its runs of equal values begin; a column has one value at least."""
    return np.nonzero(np.r_[True, column[1:] != column[:-1]])[0]


def each(data: np.ndarray, size: int) -> np.ndarray:
    """Every `size` bytes of `data` (uint8), wherever they begin: a view."""
    return np.ndarray(len(data) - size + 1, f"V{size}", data, strides=(1,))
