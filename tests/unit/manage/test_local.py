"""The control socket: who may ask, one line an answer or data before it, sentences for what goes wrong."""

import asyncio
import contextlib
import inspect
import json
import os
import threading
import time

import pytest
from voipfleet.beside import Beside
from voipfleet.errors import VoipfleetError
from voipfleet.manage import local, peer
from voipfleet.manage.local import Manager
from voipfleet.manage.request import ALL, FETCHERS, LISTENERS, OPERATORS, held, refusal
from voipfleet.manager import ask, asking

PIECE = bytes(range(256)) * 256


async def run(command, request):
    if command == "echo":
        return {"heard": request.arguments, "who": request.who}
    if command == "stream":
        for _ in range(request.arguments["pieces"]):
            await request.send(PIECE)
        if request.arguments.get("fail"):
            raise VoipfleetError("disk: is gone; put it back")
        return {"bytes": request.arguments["pieces"] * len(PIECE)}
    if command == "break":
        raise RuntimeError("a defect")
    if command == "quote":
        raise VoipfleetError("a.conf:1: \x1b]0;owned\x07\nb.conf:2: is no key")
    raise VoipfleetError("not a command; known are echo")


@contextlib.asynccontextmanager
async def listening(tmp_path, answers=run):
    path = tmp_path / "run" / "control"
    manager = Manager(path, answers)
    await manager.start()
    try:
        yield path
    finally:
        await manager.close()
    assert not path.exists()


def on_a_socket(test):
    """The test gets the path of a manager's socket."""

    async def wrapped(tmp_path, **more):
        async with listening(tmp_path) as path:
            await test(path, **more)

    names = [name for name in inspect.signature(test).parameters if name != "path"]
    kinds = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("tmp_path", *names)]
    wrapped.__signature__ = inspect.Signature(kinds)
    wrapped.__name__, wrapped.__doc__ = test.__name__, test.__doc__
    return wrapped


@on_a_socket
async def test_a_command_is_answered_and_its_error_is_raised(path):
    assert await ask(path, "echo", x=1) == {"heard": {"x": 1}, "who": peer.name_of(os.geteuid())}
    with pytest.raises(VoipfleetError, match=r"^not a command; known are echo$"):
        await ask(path, "sh")
    with pytest.raises(VoipfleetError, match=r"^break: internal error \(RuntimeError\); the log has more"):
        await ask(path, "break")


@on_a_socket
async def test_a_sentence_cannot_steer_a_terminal(path):
    with pytest.raises(VoipfleetError) as error:
        await ask(path, "quote")
    assert str(error.value) == "a.conf:1: \\x1b]0;owned\\x07\nb.conf:2: is no key"


async def test_nobody_there_is_a_sentence(tmp_path):
    with pytest.raises(VoipfleetError, match="no daemon answers; look at"):
        await ask(tmp_path / "control", "status")


@on_a_socket
async def test_data_comes_before_the_result_as_it_was_sent(path):
    async with asking(path, "stream", pieces=40) as answer:
        data = b"".join([piece async for piece in answer])
        assert data == PIECE * 40
        assert answer.result == {"bytes": len(data)}


@on_a_socket
async def test_an_error_after_data_is_raised_after_the_data(path):
    got = []
    with pytest.raises(VoipfleetError, match="disk: is gone"):
        async with asking(path, "stream", pieces=2, fail=True) as answer:
            async for piece in answer:
                got.append(piece)
    assert len(got) == 2


@pytest.mark.parametrize(
    "line", [b"\n", b"[]\n", b"nonsense\n", b'{"command": []}\n', b'{"x": 1}\n', b"\xff\xfe\n", b"[" * 9999 + b"\n"]
)
@on_a_socket
async def test_garbage_gets_a_sentence(path, line):
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(line)
    assert "not a command" in json.loads(await reader.readline())["error"]
    writer.close()


@on_a_socket
async def test_a_line_without_an_end_ends_the_connection(path):
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"x" * (2 * local.MAX_LINE + 1))
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


@on_a_socket
async def test_silence_ends_the_connection(path, monkeypatch):
    monkeypatch.setattr(local, "IDLE", 0.05)
    reader, writer = await asyncio.open_unix_connection(path)
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_the_work_ends_when_the_asker_hangs_up(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "LOOK", 0.02)
    ended = asyncio.Event()

    async def for_ever(command, request):
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    manager = Manager(tmp_path / "control", for_ever)
    await manager.start()
    async with asking(tmp_path / "control", "x"):
        await asyncio.sleep(0.1)
        assert not ended.is_set()
    await asyncio.wait_for(ended.wait(), 5)
    await manager.close()


@on_a_socket
async def test_half_a_hangup_is_none(path):
    """`echo ... | nc -N -U`: its end of the request is not the end of its interest."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b'{"command": "stream", "pieces": 3}\n')
    writer.write_eof()
    assert (await asyncio.wait_for(reader.read(), 5)).endswith(b'{"bytes": 196608}\n')
    writer.close()


@on_a_socket
async def test_one_user_has_few_connections_and_root_is_never_kept_out(path, monkeypatch):
    monkeypatch.setattr(peer, "is_privileged", lambda uid: False)
    held_open = [await asyncio.open_unix_connection(path) for _ in range(local.OF_ONE)]
    await asyncio.sleep(0.05)
    with pytest.raises(VoipfleetError, match="8 commands of yours run already; wait for one"):
        await ask(path, "echo")
    monkeypatch.setattr(peer, "is_privileged", lambda uid: True)
    assert await ask(path, "echo")
    for _, writer in held_open:
        writer.close()
    await asyncio.sleep(0.05)
    monkeypatch.setattr(peer, "is_privileged", lambda uid: False)
    assert await ask(path, "echo")


@on_a_socket
async def test_all_users_together_have_few_connections(path, monkeypatch):
    uids = iter(range(1000, 2000))
    monkeypatch.setattr(peer, "is_privileged", lambda uid: False)
    monkeypatch.setattr(peer, "credentials", lambda plain: (next(uids), set()))
    held_open = [await asyncio.open_unix_connection(path) for _ in range(local.CONNECTIONS)]
    await asyncio.sleep(0.1)
    with pytest.raises(VoipfleetError, match="64 commands run already; try again later"):
        await ask(path, "echo")
    for _, writer in held_open:
        writer.close()


@on_a_socket
async def test_a_second_daemon_on_the_same_socket_is_refused(path):
    with pytest.raises(VoipfleetError, match="another voipfleet answers here; stop it or set control_socket"):
        await Manager(path, run).start()


async def test_a_file_left_by_a_crash_is_no_obstacle(tmp_path):
    (tmp_path / "control").touch()
    manager = Manager(tmp_path / "control", run)
    await manager.start()
    assert "heard" in await ask(tmp_path / "control", "echo")
    await manager.close()


def test_what_somebody_holds():
    assert held({"wheel", OPERATORS}) == {OPERATORS}
    assert held({LISTENERS}) == {LISTENERS, FETCHERS}
    assert held(set()) == set()
    assert refusal("ann", FETCHERS) == ("not permitted: ann is not in group voipfleet-pcap; ask whoever runs this host"
                                        " (usermod -aG voipfleet-pcap ann, then log in anew)")  # fmt: skip
    assert refusal("ann", "") == "not permitted: ann is not root; ask whoever runs this host"


@on_a_socket
async def test_a_user_database_that_is_stuck_keeps_nobody_else_waiting(path, monkeypatch):
    """sssd or LDAP, whose host is away."""
    go, stuck = threading.Event(), True

    class Entry:
        pw_name = "ann"

    def getpwuid(uid):
        return Entry if not stuck else go.wait(10)

    monkeypatch.setattr(peer.pwd, "getpwuid", getpwuid)
    monkeypatch.setattr(peer, "SECONDS", 0.4)
    monkeypatch.setattr(peer, "_looking", Beside("user", 3))
    monkeypatch.setattr(peer, "credentials", lambda plain: (54320, {54320}))
    asked = [asyncio.create_task(ask(path, "echo")) for _ in range(5)]  # two have no thread to wait in
    begun = time.monotonic()
    await asyncio.sleep(0.1)
    assert time.monotonic() - begun < 2  # the look-up takes ten
    for one in await asyncio.gather(*asked, return_exceptions=True):
        assert str(one) == ("not known yet who you are: this host's user database did not answer within 0.4 s (sssd,"
                            " LDAP); ask again, or as root, and see whether `getent passwd 54320` answers")  # fmt: skip
    monkeypatch.setattr(peer, "credentials", lambda plain: (0, {0}))
    assert (await ask(path, "echo"))["who"] == "root"  # is never kept out
    stuck = False
    go.set()
    monkeypatch.setattr(peer, "credentials", lambda plain: (54320, {54320}))
    await asyncio.sleep(0.1)
    assert (await ask(path, "echo"))["who"] == "ann"


@on_a_socket
async def test_a_defect_before_the_first_command_keeps_nobody_waiting(path, monkeypatch):
    async def broken(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(local.peer, "asker", broken)
    with pytest.raises(VoipfleetError, match=r"internal error \(PermissionError\)"):
        async with asyncio.timeout(2):
            await ask(path, "status")


async def test_root_and_the_own_user_need_no_group():
    assert await peer.asker(0, set()) == ("root", ALL)
    assert (await peer.asker(os.geteuid(), set()))[1] == ALL


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")
async def test_the_kernel_says_who_asks(tmp_path, monkeypatch):
    """Another user with supplementary groups, as SO_PEERCRED and SO_PEERGROUPS have them."""
    asked = []

    async def note(command, request):
        asked.append((request.who, request.groups))
        return {"ok": True}

    class Entry:
        gr_gid = 54321

    def getgrnam(name):
        if name != FETCHERS:
            raise KeyError(name)
        return Entry

    monkeypatch.setattr(peer.grp, "getgrnam", getgrnam)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and folder.stat().st_mode & 0o11 != 0o11:
            folder.chmod(folder.stat().st_mode | 0o11)
    manager = Manager(tmp_path / "control", note)
    await manager.start()
    code = ("import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            "s.sendall(b'{\"command\": \"x\"}\\n'); s.recv(100)")  # fmt: skip
    for groups in ([54321, 54322], [54322]):
        words = ["/usr/bin/python3", "-c", code, str(tmp_path / "control")]
        process = await asyncio.create_subprocess_exec(*words, user=54320, group=54319, extra_groups=groups)
        assert await process.wait() == 0
    assert asked == [("54320", frozenset({FETCHERS})), ("54320", frozenset())]
    await manager.close()
