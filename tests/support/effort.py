"""How the time that something takes grows with its input: a ratio in one run, which a busy machine cannot change."""

import time
from collections.abc import Callable

TIMES = 8  # how much more input
LINEAR = 24  # times the time, for it: three times what is linear, a third of what is quadratic
LEAST = 0.005  # s; less cannot be told from nothing


def best(work: Callable[[], object], tries: int = 4) -> float:
    """CPU seconds, the least of some tries."""
    took = []
    for _ in range(tries):
        before = time.process_time()
        work()
        took.append(time.process_time() - before)
    return min(took)


def grows_linearly(work: Callable[[bytes], object], of: Callable[[int], bytes], size: int = 64 << 10) -> bool:
    """Whether `work(of(size))` takes about so many times as long as that of a TIMES smaller input."""
    small, large = of(size // TIMES), of(size)
    return best(lambda: work(large)) < LINEAR * max(LEAST / TIMES, best(lambda: work(small)))
