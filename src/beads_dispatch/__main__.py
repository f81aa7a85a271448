"""`python -m beads_dispatch`: the same as the command `beads-dispatch`."""

import sys

from beads_dispatch.cli import main

sys.exit(main())
