"""The hash table of streams behaves as a dict, whatever is inserted and removed."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from voipfleet.calls.index import Index

KEYS = st.one_of(st.integers(2, 40), st.integers(2, 2**64 - 1), st.integers(0, 30).map(lambda n: (n << 40) + 2))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(KEYS, st.booleans()), max_size=200), st.lists(KEYS, max_size=50))
def test_as_a_dict(steps, asked):
    index, oracle = Index(16), {}
    for number, (key, put) in enumerate(steps):
        if key in oracle:
            if not put:
                index.remove(key)
                del oracle[key]
        elif put and len(oracle) < 16:
            index.insert(key, number)
            oracle[key] = number
    asked = [*asked, *(key for key, _ in steps)]
    found = index.lookup(np.array(asked, np.uint64)).tolist()
    assert found == [oracle.get(key, -1) for key in asked]
