"""`python -m pocketface.bench ...`: the same as `pocketface bench ...`."""

import sys

from ..runtime.cli import main

sys.exit(main(["bench", *sys.argv[1:]]))
