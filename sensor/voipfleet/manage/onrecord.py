"""The audit log's line of a command that is about packets of calls: there is one, whatever becomes of the command."""

import asyncio
import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def on_record(service, event: str, who: str, *, only_faults: bool = False, **fields) -> Iterator[dict]:
    """What is put into `fields`, which this gives, is in the line; `result` is ok, failed, or left where whoever asked
    went away. `only_faults`: no line where all went well, for what comes after has one of its own."""
    result = "failed"
    try:
        yield fields
        result = fields.pop("result", "ok")
    except (asyncio.CancelledError, ConnectionError):
        result = "left"
        raise
    finally:
        if result != "ok" or not only_faults:
            service.tell_audit(event, who=who, **fields, result=result)
