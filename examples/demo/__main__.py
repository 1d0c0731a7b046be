"""The main job on one machine: a recording is transcoded, flagged and given a thumbnail.

    .venv/bin/python examples/demo        (or `make demo`, which installs what it needs first)

Everything happens in a temporary directory, which is removed at the end. Ends with 0 only if
the results are right. Ctrl-C at any moment ends all that was started.
"""

import signal
import sys

# Nothing is started yet: until main() takes care of it, Ctrl-C simply ends this program.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from story import main  # noqa: E402

sys.exit(main())
