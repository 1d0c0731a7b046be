"""The program, and `python -m mythjobs`: Ctrl-C ends it without words also while it is loaded."""

import _signal  # type: ignore[import-not-found]  # typeshed has only signal, which is slow to load
import sys


def main() -> int:
    """Its exit codes stand in docs/cli.md."""
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    from mythjobs.cli import main as program

    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    return program.main()


if __name__ == "__main__":
    sys.exit(main())
