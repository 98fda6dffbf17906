"""How the engine process starts or says why it cannot; the analysis is a stub here. Threads of the packet store run."""

import os
import shutil
import socket
import struct
import subprocess
import sys

import msgspec
import pytest
from voipfleet import pipe

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare"),
]

SCRIPT = """
import os, pathlib, sys, tempfile, types
def module(name, **content):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__dict__.update(content)
class Settings:
    from_config = staticmethod(lambda config, **live: None)
class Analyser:
    active_calls = 0
    def __init__(self, settings, **names):  # after the capabilities are dropped
        tasks = [t.read_text() for t in pathlib.Path("/proc/self/task").glob("*/status")]
        self.counters = {"threads": len(tasks), "privileged": sum("CapEff:\\t" + "0" * 16 not in t for t in tasks)}
    def feed(self, block): return []
    tick = finish = feed
    def checkpoints(self, now): return (), ()
module("voipfleet.calls.analyser", Analyser=Analyser, AnalyserSettings=Settings)
from voipfleet import config
spool = tempfile.TemporaryDirectory()
words = {"interface": sys.argv[2], "filter": sys.argv[3], "ringbuffer": 4, "spooldir": spool.name}
chosen = config.parse("[general]\\n" + "\\n".join(f"{key} = {value}" for key, value in words.items() if value))
config.load = lambda path: chosen
from voipfleet import engine
if sys.argv[4:]:
    import voipfleet.privileges
    voipfleet.privileges.drop_all()
code = engine.main(int(sys.argv[1]), "unused")
spool.cleanup()
sys.exit(code)
"""


def start(*arguments):
    """Run the engine in a network namespace that ends with it; (exit code, messages)."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            ["unshare", "--net", sys.executable, "-c", SCRIPT, str(theirs.fileno()), *arguments],
            pass_fds=[theirs.fileno()],
        )  # fmt: skip
        theirs.close()
        data = b""
        ours.settimeout(20)
        try:
            while chunk := ours.recv(65536):
                data += chunk
                if data.startswith(pipe.frame(pipe.READY)):
                    process.terminate()
            code = process.wait(20)
        finally:
            process.kill()
    messages = []
    while data:
        length, kind = struct.unpack("!IB", data[:5])
        messages.append((kind, data[5 : 4 + length]))
        data = data[4 + length :]
    return code, messages


def test_ready_then_finished_and_no_thread_keeps_a_capability():
    code, messages = start("lo", "")
    assert code == 0
    assert (messages[0][0], messages[-1][0]) == (pipe.READY, pipe.FINISHED)
    status = msgspec.msgpack.decode(next(body for kind, body in messages if kind == pipe.STATUS))
    assert status["privileged"] == 0
    assert status["threads"] >= 2


@pytest.mark.parametrize(
    ("arguments", "exit_code", "sentence"),
    [
        (("nosuch0", ""), 78, "interface: nosuch0 does not exist; choose from lo"),
        (("lo", "", "unprivileged"), 77, "capture on lo: not permitted; run as root or give CAP_NET_RAW"),
        (("lo", "udp prot 1"), 78, "see pcap-filter(7)"),
    ],
)
def test_a_start_that_fails_says_why(arguments, exit_code, sentence):
    code, messages = start(*arguments)
    assert code == exit_code
    assert [kind for kind, _ in messages] == [pipe.FAILED]
    fault = msgspec.msgpack.decode(messages[0][1])
    assert fault["exit_code"] == exit_code
    assert sentence in fault["sentence"]
