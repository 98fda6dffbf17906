"""`voipfleet run` before it captures."""

import subprocess
import sys

COUNT = """
import os
from voipfleet.commands import run
os.environ |= run.ONE_THREAD
import voipfleet.service
print(len(os.listdir("/proc/self/task")))
"""


def test_no_thread_is_started_by_what_is_imported():
    """It would keep the capabilities, which are given up thread by thread; a machine of one core shows nothing."""
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "1\n"
