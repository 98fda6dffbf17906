"""Faults are one line each, in a stable order."""

from voipfleet.errors import BAD_CONFIG, ConfigError, Fault


def test_faults_are_sorted_lines_with_their_place():
    error = ConfigError(
        [Fault("b.conf", 7, "sipport", "no port"), Fault("b.conf", 2, "filter", "bad"), Fault("", 0, "", "x")]
    )
    assert str(error) == "x\nb.conf:2: filter: bad\nb.conf:7: sipport: no port"
    assert error.exit_code == BAD_CONFIG
