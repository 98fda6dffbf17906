"""Keys: made once, never overwritten, refused where others may read them."""

import io
import unicodedata
from types import SimpleNamespace

import pytest
from voipfleet import secrets
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
    assert keys.parse_named((f"branch1:{text}",), "sensor_keys") == {b"k" * 32: "branch1"}
    with pytest.raises(ConfigError, match="sensor_keys: 'branch1' is no public key"):
        keys.parse_named(("x:branch1",), "sensor_keys")


def test_a_host_named_by_an_ipv6_address_is_listed():
    public = b"k" * 32
    assert keys.parse_named([f"2001:db8::1:{keys.encode(public)}"], "sensor_keys") == {public: "2001:db8::1"}


def test_a_pin_may_be_for_one_host(tmp_path):
    hq1, hq2, any_host = (letter * 32 for letter in (b"1", b"2", b"a"))
    words = [f"192.0.2.1:{keys.encode(hq1)}", f"2001:db8::2:{keys.encode(hq2)}", keys.encode(any_host)]
    assert keys.parse_pins(words, "192.0.2.1") == (hq1, any_host)
    assert keys.parse_pins(words, "2001:db8::2") == (hq2, any_host)
    assert keys.parse_pins(words) == (hq1, hq2, any_host)


def test_a_rotation_of_a_key(tmp_path, capsys):
    path = tmp_path / "node.key"
    words = ["keygen", "--file", str(path)]
    assert main([*words, "--rotate"]) == 1  # there is none yet
    assert main(words) == 0
    first = keys.load(path)
    assert main([*words, "--rotate"]) == 0 and main([*words, "--rotate"]) == 0
    new, old = keys.load_all(path)
    assert old == first and new != first
    assert "a rotation is on" in capsys.readouterr().out
    assert main([*words, "--public"]) == 0
    assert capsys.readouterr().out.split() == [keys.encode(new.public), keys.encode(old.public)]
    assert main([*words, "--forget-old"]) == 0 and main([*words, "--forget-old"]) == 0
    assert keys.load_all(path) == (new,)
    assert "there is no old key" in capsys.readouterr().out


def test_what_a_password_becomes_is_as_good_as_the_password(tmp_path, capsys, monkeypatch):
    password = "a password of more than sixteen"
    monkeypatch.setattr("sys.stdin", io.StringIO(password + "\n"))
    assert main(["keygen", "--psk", "--fleet-id", "north"]) == 0
    text = capsys.readouterr().out
    config = SimpleNamespace(where="f.conf", server_password=None, server_passwords="old password of 16+\n",
                             server_psk=text)  # fmt: skip
    found = keys.psks(secrets.fleet_secrets(config), "north")
    assert found == (keys.psk_from_password(password, "north"), keys.psk_from_password("old password of 16+", "north"))
    monkeypatch.setattr("sys.stdin", io.StringIO("short"))
    assert main(["keygen", "--psk"]) == 2


@pytest.mark.parametrize(("given", "sentence"), [
    ({"server_psk": "AAAA"}, "server_psk: is no derived key; take what `voipfleet keygen --psk` prints"),
    ({"server_passwords": "short"}, "server_passwords: one has fewer than 16 characters; remove it"),
    ({"server_passwords": "\n".join(str(n) * 16 for n in range(4))}, "at most 4 passwords can be active at once"),
    ({"server_password": None}, "server_password: is missing"),
])  # fmt: skip
def test_secrets_that_are_refused_and_not_shown(given, sentence):
    values = {"server_password": "p" * 20, "server_passwords": None, "server_psk": None} | given
    with pytest.raises(ConfigError, match=sentence) as error:
        secrets.fleet_secrets(SimpleNamespace(where="f.conf", **values))
    assert all(value not in str(error.value) for value in given.values() if value)
