"""`python -m pocketface.distill RECIPE ...`: the same as `pocketface distill RECIPE ...`."""

import sys

from ..runtime.cli import run_command
from . import command

sys.exit(run_command(command, "python -m pocketface.distill", sys.argv[1:]))
