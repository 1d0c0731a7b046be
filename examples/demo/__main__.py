"""Demo on one machine: a recording is transcoded, its commercials are found, and a thumbnail made.

    .venv/bin/python examples/demo        (or `make demo`, which installs what it needs first)

All files are in a temporary directory, which is removed at the end. The exit code is 0 only if
the results are correct. Ctrl-C ends all started processes.
"""

import signal
import sys

# Until main() handles Ctrl-C, it just ends this program: no process is started yet.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from demo import main  # noqa: E402

sys.exit(main())
