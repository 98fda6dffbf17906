"""Exit codes and the errors that a person is meant to read. Standard library only."""

from dataclasses import dataclass

OK = 0
FAILURE = 1  # a run-time failure
USAGE = 2  # the command line is wrong
NO_PERMISSION = 77  # not allowed to capture
BAD_CONFIG = 78  # the configuration is wrong: a restart cannot help
INTERRUPTED = 130  # by Ctrl-C, as shells say it


class VoipfleetError(Exception):
    """One sentence for a person (`what is wrong; what to do`) and the exit code that goes with it."""

    exit_code = FAILURE
    temporary = False  # the same may be done a little later


class UsageError(VoipfleetError):
    exit_code = USAGE


class PermissionDenied(VoipfleetError):
    exit_code = NO_PERMISSION


@dataclass(frozen=True, order=True)
class Fault:
    """One fault of a configuration: `where` is a file, host or empty; `line` 0 where there is none."""

    where: str
    line: int
    key: str
    reason: str

    def __str__(self) -> str:
        place = f"{self.where}:{self.line}" if self.line else self.where
        return ": ".join(part for part in (place, self.key, self.reason) if part)


class ConfigError(VoipfleetError):
    """The configuration has faults; `str()` is one line a fault."""

    exit_code = BAD_CONFIG

    def __init__(self, faults: list[Fault]):
        self.faults = sorted(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))
