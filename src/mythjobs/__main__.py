"""Entry point of the program. Ctrl-C exits without a traceback even during the imports."""

import _signal  # type: ignore[import-not-found]  # typeshed has only signal, which is slow to load
import sys


def main() -> int:
    """Run the command line; docs/cli.md lists the exit codes."""
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    from mythjobs.cli import main as program

    program.load(sys.argv[1:])
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    return program.main()


if __name__ == "__main__":
    sys.exit(main())
