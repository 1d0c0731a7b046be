"""Signal dispositions of the test run, which its programs inherit."""

import signal


def pytest_configure() -> None:
    """Give signals that the caller ignores their default action.

    A shell ignores SIGINT and SIGQUIT for its background jobs, nohup ignores SIGHUP. Programs that
    the tests start would inherit that, and the tests of Ctrl-C would wait in vain.
    """
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            is_interrupt = number is signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_interrupt else signal.SIG_DFL)
