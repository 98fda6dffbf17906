"""The configuration parser: every fault at once, each a line that says what to do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from voipfleet import config
from voipfleet.errors import ConfigError
from voipfleet.options import OPTIONS


def faults(text):
    with pytest.raises(ConfigError) as error:
        config.parse(text, "f.conf")
    return str(error.value).splitlines()


def test_a_small_sensor():
    parsed = config.parse("# comment\n[general]\ninterface = eth0, eth1\nsipport=5060,5070-5072\npromisc = no\n")
    assert parsed.interface == ("eth0", "eth1")
    assert parsed.sipport == (5060, 5070, 5071, 5072)
    assert parsed.promisc is False
    assert parsed.ringbuffer == 50
    assert parsed.given == {"interface", "sipport", "promisc"}


def test_many_ports_are_written_as_ranges():
    text = "[general]\ninterface = eth0\nsipport = 5060,5061,5070-50820\n"
    ports = config.parse(text).sipport
    written = config.render({"interface": ["eth0"], "sipport": list(ports)})
    assert written == text


def test_all_faults_at_once_in_the_order_of_the_file():
    text = "[general]\ninterfac = eth0\nsnaplen = 12\npromisc = maybe\nserver_bind = hq\nrtpthreads = 2\nsaveaudio\n"
    assert faults(text) == [
        "f.conf:2: interfac: is not a known key (did you mean interface?); correct or remove it",
        "f.conf:3: snaplen: is 12; give a number from 128 to 262144 bytes",
        "f.conf:4: promisc: is 'maybe'; give yes or no",
        "f.conf:5: server_bind: is 'hq'; give an IP address of this host, or 0.0.0.0 for all",
        "f.conf:6: rtpthreads: is a key of the reference that this program does not have; remove it",
        "f.conf:7: is not `key = value`; correct or remove the line",
    ]  # fmt: skip


def test_server_and_client_in_one_instance():
    assert faults("[general]\nserver_bind = 0.0.0.0\nserver_destination = hq\n") == [
        "f.conf:2: server_bind: cannot stand with server_destination in one instance; remove one of them"
    ]


def test_the_rules_of_the_instance_are_told_with_the_other_faults():
    assert faults("[general]\ninterfac = e\nserver_bind = 0.0.0.0\nserver_destination = hq\n") == [
        "f.conf:2: interfac: is not a known key (did you mean interface?); correct or remove it",
        "f.conf:3: server_bind: cannot stand with server_destination in one instance; remove one of them",
    ]


def test_nothing_to_do():
    assert faults("[general]\nserver_destination = hq\n") == [
        "f.conf: interface: is missing, and neither server_bind nor mirror_bind is set; this instance has nothing to do"
    ]


def test_a_key_set_twice():
    assert faults("[general]\ninterface = a\ninterface = b\n") == [
        "f.conf:3: interface: is set again, differently from line 2; keep one"
    ]


def test_a_key_that_is_not_built_is_refused():
    (line,) = faults("[general]\ninterface = a\nssl_ipport = 1.2.3.4:5061\n")
    assert line == "f.conf:3: ssl_ipport: is known but not built yet in this release; remove it"


@pytest.mark.parametrize(
    ("lines", "sentences"),
    [
        ("packetbuffer_sender = yes\nserver_destination = b\nnumber_keep_last = 3",
         ["f.conf:5: number_keep_last: masks numbers in records and in kept packets, but this host sends raw packets"
          " with the whole numbers; send records, or remove it"]),
        ("mirror_destination = b\nnumber_keep_last = 0",
         ["f.conf:4: number_keep_last: masks numbers in records and in kept packets, but this host sends raw packets"
          " with the whole numbers; send records, or remove it"]),
        ("manager_port = 5029",
         ["f.conf:3: manager_port: needs manager_keys, the keys of those who may ask there; set them or remove this"]),
        ("maxpoolsipsize = 102401\nmaxpoolsipdays = 9",
         ["f.conf:3: maxpoolsipsize: is 102401 MB, more than maxpoolsize allows for all kinds together (102400); make"
          " one smaller or the other larger"]),
        ("server_bind = ::\nmanager_port = 60024\nmanager_keys = a:b",
         ["f.conf:4: manager_port: is also server_bind_port; give each listener a port of its own"]),
        ("savertp = yes\nnumber_keep_last = 3\nmaxpoolaudiosize = 102400", []),
    ],
)  # fmt: skip
def test_what_is_kept_and_masked(lines, sentences):
    text = f"[general]\ninterface = a\n{lines}\n"
    if sentences:
        assert faults(text) == sentences
    else:
        config.parse(text, "f.conf")


def test_a_destination_in_the_spelling_of_the_reference():
    parsed = config.parse("[general]\ninterface = a\nmirror_destination_ip = 10.0.0.1:5091\n", "f.conf")
    assert (parsed.mirror_destination, parsed.mirror_destination_port) == (("10.0.0.1",), 5091)


def test_import_of_a_reference_file_warns():
    parsed = config.parse("[general]\ninterface = a\nrtpthreads = 2\nssl_ipport = b:5061\n", "f", import_reference=True)
    assert len(parsed.warnings) == 2


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be read .No such file or directory.; check the path"):
        config.load(tmp_path / "x.conf")


def test_every_default_is_valid_and_render_comes_back():
    parsed = config.parse("[general]\ninterface = eth0\nserver_destination = a,b\nringbuffer = 16\n")
    again = config.parse(config.render({key: parsed.values[key] for key in parsed.given}))
    assert again.values == parsed.values
    assert set(parsed.values) == {option.key for option in OPTIONS}


@given(st.text(max_size=300))
def test_any_text_gives_a_config_or_faults(text):
    try:
        config.parse("[general]\n" + text, "f")
    except ConfigError as error:
        assert error.faults


@given(st.sampled_from([option.key for option in OPTIONS]), st.text(max_size=60))
def test_any_value_of_any_key(key, value):
    try:
        config.parse(f"[general]\ninterface = e\n{key} = {value}\n", "f")
    except ConfigError as error:
        assert error.faults


@given(st.text(min_size=4, max_size=40))
def test_a_secret_is_never_in_a_fault(value):
    secret = "S3cret" + value
    try:
        config.parse(f"[general]\nserver_password = {secret}\nserver_psk = {secret}\n", "f")
    except ConfigError as error:
        assert "S3cret" not in str(error)


def test_pairs_of_addresses():
    found = config.parse("[general]\ninterface = eth0\nnatalias = 203.0.113.5 10.0.0.5, 2001:db8::1 fd00::1\n")
    assert found.natalias == (("203.0.113.5", "10.0.0.5"), ("2001:db8::1", "fd00::1"))
    assert faults("[general]\ninterface = eth0\nnatalias = 203.0.113.5\n") == [
        "f.conf:3: natalias: has '203.0.113.5'; give pairs of addresses, as in 203.0.113.5 10.0.0.5"
    ]
