"""Who captures, receives, analyses and sends, for every mode of the architecture."""

import pytest
from voipfleet.config import parse
from voipfleet.duties import duties, mode


@pytest.mark.parametrize(("lines", "captures", "receives", "analyses", "sends"), [
    (["interface = a"], True, False, True, []),
    (["interface = a", "server_destination = c"], True, False, True, []),
    (["interface = a", "server_destination = c", "packetbuffer_sender = yes"], True, False, False,
     ["server_destination"]),
    (["interface = a", "mirror_destination = b"], True, False, False, ["mirror_destination"]),
    (["interface = a", "mirror_destination = b", "server_destination = c"], True, False, True, ["mirror_destination"]),
    (["mirror_bind = 0.0.0.0"], False, True, True, []),
    (["mirror_bind = 0.0.0.0", "interface = a"], True, True, True, []),
    (["mirror_bind = 0.0.0.0", "mirror_destination = b"], False, True, False, ["mirror_destination"]),
    (["mirror_bind = 0.0.0.0", "server_destination = c"], False, True, True, []),
    (["mirror_bind = 0.0.0.0", "server_destination = c", "packetbuffer_sender = yes"], False, True, False,
     ["server_destination"]),
    (["server_bind = 0.0.0.0"], False, True, True, []),
])  # fmt: skip
def test_the_modes(lines, captures, receives, analyses, sends):
    found = duties(parse("\n".join(["[general]", *lines, ""]), "f"))
    assert (found.captures, found.receives, found.analyses) == (captures, receives, analyses)
    assert [destination.key for destination in found.sends] == sends
    assert found.engine == (captures or (receives and analyses))


@pytest.mark.parametrize(("lines", "words"), [
    (["interface = a"], "capture"),
    (["interface = a", "server_destination = c"], "capture+client"),
    (["interface = a", "server_destination = c", "packetbuffer_sender = yes"], "capture+packet sender"),
    (["interface = a", "mirror_destination = b"], "capture+mirror source"),
    (["mirror_bind = 0.0.0.0", "server_destination = c"], "mirror receiver+client"),
    (["server_bind = 0.0.0.0"], "central"),
])  # fmt: skip
def test_the_words_for_them(lines, words):
    assert mode(parse("\n".join(["[general]", *lines, ""]), "f")) == words
