"""Lines of an anacrontab, as anacron 2.3-36 of Debian reads them (observed with its program)."""

import pytest

from mythjobs.takeover.cron.anacrontab import AnacronLine, parse_anacrontab
from mythjobs.takeover.cron.crontab import InvalidLine


def only(text: str) -> AnacronLine:
    (found,) = parse_anacrontab(text)
    assert isinstance(found, AnacronLine), found
    return found


def test_a_job_has_a_period_a_delay_and_a_name() -> None:
    found = only("SHELL=/bin/dash\n# x\n  7\t10 cron.weekly  run-parts  /etc/cron.weekly \n")
    assert (found.number, found.days, found.delay_min, found.job) == (3, 7, 10, "cron.weekly")
    assert (found.text, found.settings) == ("run-parts  /etc/cron.weekly", {"SHELL": "/bin/dash"})
    assert only("@monthly 0 m x=1 y\n").days == 31


def test_backslashes_are_left_out() -> None:
    line = r"1 5 tidy printf '[%s]' a\\b 'c\d' \$HOME"
    assert only(f"{line}\n").text == "printf '[%s]' ab 'cd' $HOME"
    assert only(f"{line}\n").raw == line


@pytest.mark.parametrize("line", ["1 5 a/b x", "1 5 job", "x 5 job y", "1 x job y", "@never 5 j y"])
def test_what_anacron_refuses_is_told(line: str) -> None:
    (found,) = parse_anacrontab(f"{line}\n")
    assert isinstance(found, InvalidLine)
    assert found.why.startswith("is not a job of anacron")
