"""How this process treats memory that it has given back to the C library."""

import contextlib
import ctypes

KEPT = 256 << 20  # bytes
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def keep() -> None:
    """Memory of one block is kept for the next one's.

    Large pieces would go back to the kernel at once and be taken again, with a fault for each page: a quarter of the
    time that packing takes. Where the C library is another than glibc, nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, KEPT)
        library.mallopt(_TRIM_THRESHOLD, KEPT)
