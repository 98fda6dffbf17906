"""Keys: made once, never overwritten, refused where others may read them."""

import unicodedata

import pytest
from voipfleet.cli import main
from voipfleet.errors import ConfigError, VoipfleetError
from voipfleet.link import keys


def test_a_key_is_made_once(tmp_path, capsys):
    path = tmp_path / "new" / "node.key"
    assert main(["keygen", "--file", str(path)]) == 0
    first = path.read_bytes()
    assert main(["keygen", "--file", str(path)]) == 0
    assert path.read_bytes() == first
    assert path.stat().st_mode & 0o777 == 0o600
    out = capsys.readouterr().out
    assert f"{path}: made" in out
    assert f"{path}: is there already" in out
    assert first.decode().strip() not in out
    assert main(["keygen", "--public", "--file", str(path)]) == 0
    assert keys.decode(capsys.readouterr().out.strip(), "x") == keys.load(path).public


@pytest.mark.parametrize("text", ["", "short", "AAAA", "\u00e9"])
def test_what_is_no_key_is_refused(tmp_path, text):
    path = tmp_path / "k"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(VoipfleetError, match="restore it"):
        keys.load(path)


def test_a_key_that_others_may_read_is_refused(tmp_path):
    path = tmp_path / "k"
    keys.generate(path)
    path.chmod(0o640)
    with pytest.raises(VoipfleetError, match="others may read this node's key; chmod 0600 it"):
        keys.load(path)


def test_no_key_yet(tmp_path):
    with pytest.raises(VoipfleetError, match="make one with `voipfleet keygen`"):
        keys.load(tmp_path / "k")


def test_a_password_gives_one_key_a_fleet_however_it_is_typed():
    one = keys.psk_from_password("caf\u00e9 and sixteen more", "a")
    assert one == keys.psk_from_password(unicodedata.normalize("NFD", "caf\u00e9 and sixteen more"), "a")
    assert one != keys.psk_from_password("caf\u00e9 and sixteen more", "b")
    assert len(one) == 32


def test_pins_and_allow_lists():
    text = keys.encode(b"k" * 32)
    assert keys.parse_pins((text,)) == (b"k" * 32,)
    assert keys.parse_sensor_keys((f"branch1:{text}",)) == {b"k" * 32: "branch1"}
    with pytest.raises(ConfigError, match="sensor_keys: 'branch1' is no public key"):
        keys.parse_sensor_keys(("x:branch1",))


def test_a_host_named_by_an_ipv6_address_is_listed():
    public = b"k" * 32
    assert keys.parse_sensor_keys([f"2001:db8::1:{keys.encode(public)}"]) == {public: "2001:db8::1"}
