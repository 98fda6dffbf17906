"""The properties of the fuzz targets under hypothesis: the inputs to begin with, changed in a few places.

`make fuzz TARGET=<name>` looks for longer, led by coverage.
"""

import tracemalloc

import pytest
from fuzz.targets import TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st

CHANGE = st.tuples(st.integers(0, 4000), st.integers(0, 40), st.binary(max_size=8))


@pytest.mark.parametrize("name", TARGETS)
def test_the_inputs_to_begin_with(name):
    for data in TARGETS[name].seeds:
        TARGETS[name].check(data)
        tracemalloc.start()
        TARGETS[name].run(data)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < TARGETS[name].memory


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_changed_in_places(name, data):
    target = TARGETS[name]
    content = data.draw(st.sampled_from(target.seeds))
    for at, cut, put in data.draw(st.lists(CHANGE, max_size=6)):
        at %= len(content) + 1
        content = content[:at] + put + content[at + cut :]
    target.check(content)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=50, deadline=None)
@given(content=st.binary(max_size=400))
def test_anything(name, content):
    TARGETS[name].check(content)
