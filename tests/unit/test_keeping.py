"""How an instance's pool is opened."""

import asyncio
from types import SimpleNamespace

import pytest
from voipfleet import keeping
from voipfleet.calls.record import CallRecord
from voipfleet.config import parse
from voipfleet.duties import duties


@pytest.mark.parametrize("receiver", ["", "mirror_bind = 127.0.0.1", "server_bind = 127.0.0.1"])
def test_who_receives_packets_of_others_expects_them_late(tmp_path, receiver):
    """There, packets of any call may be staged; elsewhere those of a call that was over long ago are not."""
    config, seals = parse(f"[general]\nspooldir = {tmp_path}\ninterface = eth0\n{receiver}\n", "f"), []

    async def seal() -> None:
        seals.append(1)

    async def forget(uuids, number) -> int:
        return 0

    service = SimpleNamespace(config=config, duties=duties(config), engine=SimpleNamespace(seal=seal), live={},
                              spool=SimpleNamespace(erase=forget), intake=SimpleNamespace(told=None),
                              room=SimpleNamespace(givers=[]))  # fmt: skip
    keeping.open_pool(service)
    try:
        service.intake.told(CallRecord(uuid=bytes(16), call_id="a@b", setup_time=1_700_000_000 * 10**9))
        asyncio.run(service.pool.erase(bytes(16)))
    finally:
        service.pool.close()
    assert len(seals) == bool(receiver)
    assert service.room.givers == [service.pool.give_back] and "maxpoolsize" in service.live
