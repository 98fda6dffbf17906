"""`python -m voipfleet`: the same as the `voipfleet` command."""

import sys

from voipfleet.cli import main

sys.exit(main())
