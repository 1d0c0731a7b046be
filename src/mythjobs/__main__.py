"""`python -m mythjobs` is the command line too."""

import sys

from mythjobs.cli.main import main

sys.exit(main())
