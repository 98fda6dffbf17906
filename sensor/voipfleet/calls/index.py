"""From a stream's key to its row, for a whole block at once: a hash table with open addressing in two arrays."""

import numpy as np

EMPTY, GONE = np.uint64(0), np.uint64(1)  # no key has these values: `Index.key` sees to it


class Index:
    """Up to `limit` keys (uint64). Four slots a key, so that a lookup ends after a slot or two."""

    def __init__(self, limit: int):
        self._size = 1 << (4 * limit - 1).bit_length()
        self._keys = np.zeros(self._size, np.uint64)
        self._rows = np.zeros(self._size, np.int64)
        self._mask = np.uint64(self._size - 1)
        self._gone = 0

    def lookup(self, keys: np.ndarray) -> np.ndarray:
        """The row of each key, -1 where there is none."""
        rows = np.full(len(keys), -1, np.int64)
        slot = keys >> np.uint64(17) & self._mask
        found = self._keys[slot]
        hit = found == keys
        rows[hit] = self._rows[slot[hit]]
        left = np.nonzero(~hit & (found != EMPTY))[0]
        slot = slot[left]
        while len(left):
            slot = (slot + np.uint64(1)) & self._mask
            found = self._keys[slot]
            hit = found == keys[left]
            rows[left[hit]] = self._rows[slot[hit]]
            on = ~hit & (found != EMPTY)
            left, slot = left[on], slot[on]
        return rows

    def insert(self, key: int, row: int) -> None:
        """`key` is not there yet."""
        slot = key >> 17 & self._size - 1
        while self._keys[slot] > GONE:
            slot = (slot + 1) & self._size - 1
        self._gone -= int(self._keys[slot] == GONE)
        self._keys[slot], self._rows[slot] = key, row

    def remove(self, key: int) -> None:
        slot = key >> 17 & self._size - 1
        while self._keys[slot] != key:
            slot = (slot + 1) & self._size - 1
        self._keys[slot] = GONE
        self._gone += 1
        if self._gone > self._size // 4:  # what is gone lengthens every search
            self._rebuild()

    def _rebuild(self) -> None:
        there = self._keys > GONE
        keys, rows = self._keys[there].tolist(), self._rows[there].tolist()
        self._keys[:] = EMPTY
        self._gone = 0
        for key, row in zip(keys, rows, strict=True):
            self.insert(key, row)
