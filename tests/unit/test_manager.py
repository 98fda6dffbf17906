"""The control socket: a closed table, one line an answer, sentences for what goes wrong."""

import asyncio
import json

import pytest
from voipfleet.errors import VoipfleetError
from voipfleet.manager import Manager, ask


async def echo(request):
    return {"heard": request}


def test_a_known_command_is_answered_and_an_unknown_one_names_the_known(tmp_path):
    async def main():
        manager = Manager(tmp_path / "run" / "control", {"echo": echo})
        await manager.start()
        assert (await ask(tmp_path / "run" / "control", "echo", x=1))["heard"]["x"] == 1
        assert await ask(tmp_path / "run" / "control", "sh") == {"error": "not a command; known are echo"}
        await manager.close()
        assert not (tmp_path / "run" / "control").exists()

    asyncio.run(main())


@pytest.mark.parametrize(
    "line", [b"\n", b"[]\n", b"nonsense\n", b'{"command": []}\n', b"\xff\xfe\n", b"[" * 9999 + b"\n"]
)
def test_garbage_gets_a_sentence(tmp_path, line):
    async def main():
        manager = Manager(tmp_path / "control", {"echo": echo})
        await manager.start()
        reader, writer = await asyncio.open_unix_connection(tmp_path / "control")
        writer.write(line)
        assert "not a command" in json.loads(await reader.readline())["error"]
        writer.close()
        await manager.close()

    asyncio.run(main())


def test_a_second_daemon_on_the_same_socket_is_refused(tmp_path):
    async def main():
        first = Manager(tmp_path / "control", {})
        await first.start()
        with pytest.raises(VoipfleetError, match="another voipfleet answers here; stop it or set control_socket"):
            await Manager(tmp_path / "control", {}).start()
        await first.close()

    asyncio.run(main())


def test_a_file_left_by_a_crash_is_no_obstacle(tmp_path):
    async def main():
        (tmp_path / "control").touch()
        manager = Manager(tmp_path / "control", {"echo": echo})
        await manager.start()
        assert "heard" in await ask(tmp_path / "control", "echo")
        await manager.close()

    asyncio.run(main())
