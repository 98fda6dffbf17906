"""The two laws of ITU-T G.711 against known values of the Recommendation, and against their inverse."""

import numpy as np
import pytest
from support.voice import alaw, mulaw
from voipfleet.fetching.g711 import LAWS

# Tables 1 and 2 of G.711: code words as sent (with their bits inverted) and values, on the scale of 14 and 13 bits
MU = {0x80: 8031, 0x8F: 4191, 0x9F: 2079, 0xAF: 1023, 0xBF: 495, 0xCF: 231, 0xDF: 99, 0xEF: 33, 0xFE: 2, 0xFF: 0,
      0x00: -8031, 0x0F: -4191, 0x7E: -2, 0x7F: 0}  # fmt: skip
A = {0xAA: 4032, 0xA5: 2112, 0xBA: 2016, 0xB5: 1056, 0x8A: 1008, 0x9A: 504, 0xEA: 252, 0xFA: 126, 0xCA: 63, 0xD5: 1,
     0x2A: -4032, 0x55: -1}  # fmt: skip


def test_known_values():
    assert {code: int(LAWS[0][code]) for code in MU} == {code: value * 4 for code, value in MU.items()}
    assert {code: int(LAWS[8][code]) for code in A} == {code: value * 8 for code, value in A.items()}


@pytest.mark.parametrize(("law", "encode", "twice"), [(0, mulaw, {0x7F}), (8, alaw, set())])
def test_every_code_but_the_second_zero_is_that_of_its_value(law, encode, twice):
    codes = [code for code in range(256) if code not in twice]
    assert list(encode(LAWS[law][codes])) == codes
    assert len(set(LAWS[law].tolist())) == 256 - len(twice) and (LAWS[law][:128] == -LAWS[law][128:]).all()


def test_another_implementation_has_the_same():
    audioop = pytest.importorskip("audioop", reason="no audioop in this Python (it left in 3.13)")
    octets = bytes(range(256))
    assert np.frombuffer(audioop.ulaw2lin(octets, 2), np.int16).tolist() == LAWS[0].tolist()
    assert np.frombuffer(audioop.alaw2lin(octets, 2), np.int16).tolist() == LAWS[8].tolist()
