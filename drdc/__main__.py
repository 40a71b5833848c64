"""`python -m drdc` is the command `drdc`."""

import sys

from drdc.cli import main

sys.exit(main())
