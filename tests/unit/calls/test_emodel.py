"""The E-model: points that G.107 gives or that follow by hand, and what holds for every codec and any loss."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from voipfleet.calls import emodel
from voipfleet.calls.emodel import burst_ratio, mos, quality

codecs = st.sampled_from(sorted(emodel.CODECS))
EXPECTED = 1000


def test_ratings_of_g107_annex_b():
    """Table B.1: R 90, 80, 70, 60, 50 and MOS; 93.2 is the model with every parameter at its default."""
    assert [round(mos(r), 2) for r in (93.2, 90, 80, 70, 60, 50)] == [4.41, 4.34, 4.02, 3.60, 3.10, 2.58]
    assert (mos(-5), mos(0), mos(100), mos(130)) == (1, 1, 4.5, 4.5)


def test_ie_and_bpl_of_g113():
    assert emodel.CODECS == {"PCMU": (0, 25.1), "PCMA": (0, 25.1), "G729": (11, 19.0), "G723": (15, 16.1)}


@pytest.mark.parametrize("codec", ["G722", "opus", "AMR-WB", "AMR", "GSM", "iLBC", "telephone-event", ""])
def test_no_value_without_a_verified_pair(codec):
    assert quality(codec, EXPECTED, 0, []) == (None, None)


def test_nothing_expected_is_no_rating():
    assert quality("PCMU", 0, 0, []) == (None, None)


@pytest.mark.parametrize(
    ("codec", "lost", "gaps", "r"),
    [
        ("PCMU", 0, 0, 93.2),
        ("PCMU", 10, 10, 89.56),  # 95 * 1 / (1 + 25.1) = 3.64
        ("pcma", 50, 50, 77.42),  # 95 * 5 / (5 + 25.1) = 15.78
        ("PCMA", 20, 5, 85.78),  # gaps of 4, ratio 4 * 0.98: 95 * 2 / (2 / 3.92 + 25.1) = 7.42
        ("G729", 0, 0, 82.2),
        ("G729", 10, 10, 78.0),  # 11 + 84 * 1 / (1 + 19) = 15.2
        ("G723", 20, 20, 69.36),  # 15 + 80 * 2 / (2 + 16.1) = 23.84
    ],
)
def test_by_hand(codec, lost, gaps, r):
    assert quality(codec, EXPECTED, lost, [gaps])[0] == pytest.approx(r, abs=0.01)


def test_burst_ratio():
    assert burst_ratio(0, 100, []) == 1
    assert burst_ratio(10, 1000, [10]) == 1  # single packets: not burstier than random
    assert burst_ratio(100, 1000, [0, 50]) == pytest.approx(1.8)  # pairs at 10 %: 2 * 0.9
    assert burst_ratio(20, 1000, [0] * 9 + [1]) == pytest.approx(19.6)  # the bin says only 10 or more


def test_ratio_of_two_costs_what_the_formula_says():
    """4 % lost in gaps that are twice as long as at random: 95 * 4 / (4 / 2 + 25.1) = 14.02."""
    lost, gaps = 400, 192  # 400 / 192 * 0.96 = 2
    assert quality("PCMU", 10_000, lost, [gaps])[0] == pytest.approx(93.2 - 14.02, abs=0.01)


def test_discarded_counts_as_loss_and_not_as_a_burst():
    assert quality("PCMU", EXPECTED, 0, [], 10) == quality("PCMU", EXPECTED, 10, [10])
    assert quality("PCMU", EXPECTED, 1, [1], 99) == quality("PCMU", EXPECTED, 100, [100])


@given(codecs, st.integers(0, EXPECTED), st.integers(0, EXPECTED), st.integers(1, EXPECTED), st.integers(0, EXPECTED))
def test_more_loss_is_never_better(codec, less, more, gaps, late):
    less, more = sorted((less, more))
    assert quality(codec, EXPECTED, more, [gaps])[0] <= quality(codec, EXPECTED, less, [gaps])[0]
    assert quality(codec, EXPECTED, less, [gaps], late)[0] <= quality(codec, EXPECTED, less, [gaps])[0]


@given(codecs, st.integers(1, EXPECTED), st.integers(1, EXPECTED), st.integers(1, EXPECTED))
def test_burstier_is_never_better(codec, lost, few, many):
    few, many = sorted((few, many))
    assert quality(codec, EXPECTED, lost, [few])[0] <= quality(codec, EXPECTED, lost, [many])[0]


@given(codecs, st.integers(1, 10**9), st.integers(0, 10**10), st.lists(st.integers(0, 10**9), max_size=10),
       st.integers(0, 10**10))  # fmt: skip
def test_the_scale_is_never_left(codec, expected, lost, bursts, late):
    r, score = quality(codec, expected, lost, bursts, late)
    assert 0 <= r <= emodel.BEST - emodel.CODECS[codec][0] + 0.01
    assert 1 <= score <= 4.41


@given(st.floats(0, 100), st.floats(0, 100))
def test_a_higher_r_is_never_a_lower_mos(a, b):
    a, b = sorted((a, b))
    assert mos(a) <= mos(b) + 1e-9
