"""`python -m pocketface.export`: the same as `pocketface export`."""

import sys

from ..runtime.cli import run_command
from . import command

sys.exit(run_command(command, "python -m pocketface.export", sys.argv[1:]))
