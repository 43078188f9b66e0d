"""`python -m pocketface.runtime VERB ...`: the same as `pocketface VERB ...`."""

import sys

from .cli import main

sys.exit(main())
