"""Entries of crontabs, as Debian's cron and cronie read them (observed with cron 3.0pl1-162)."""

import pytest

from mythjobs.takeover.cron.crontab import CronLine, InvalidLine, parse_crontab, split_command


def parse(text: str, *, is_system: bool = False) -> list[CronLine | InvalidLine]:
    return list(parse_crontab(text, is_system=is_system, is_cronie=False))


def only(text: str, *, is_system: bool = False) -> CronLine:
    (found,) = parse(text, is_system=is_system)
    assert isinstance(found, CronLine), found
    return found


def test_an_entry_has_a_time_and_shell_text() -> None:
    found = only("  */5\t1-3,5  * jan Mon-Fri   echo  'a  b' # no comment\n")
    assert found.when == found.written == "*/5 1-3,5 * jan Mon-Fri"
    assert (found.text, found.user, found.number) == ("echo  'a  b' # no comment", "", 1)


def test_a_system_crontab_has_a_user() -> None:
    found = only("17 * * * *  backup  cd / && ls\n", is_system=True)
    assert (found.user, found.text) == ("backup", "cd / && ls")


@pytest.mark.parametrize(
    "nickname, when",
    [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * 0"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
        ("@reboot", "@reboot"),
    ],
)
def test_nicknames(nickname: str, when: str) -> None:
    found = only(f"{nickname} echo\n")
    assert (found.when, found.written, found.text) == (when, nickname, "echo")


def test_a_dash_before_the_minute_is_only_for_the_log_of_cronie() -> None:
    (found,) = parse_crontab("-5 * * * * x\n", is_system=False, is_cronie=True)
    assert isinstance(found, CronLine)
    assert found.when == "5 * * * *"


@pytest.mark.parametrize(
    "line, value",
    [
        ("NAME=value", "value"),
        ("NAME = two words  ", "two words"),
        ("  NAME=' single '", " single"),
        ("NAME=\"'twice'\"", "twice"),
        ('NAME=""', ""),
        ('NAME=" "', ""),
        ('"NAME" = "dou\'ble"', "dou'ble"),
        ("NAME=$HOME/bin:~", "$HOME/bin:~"),
        ('NAME="a=b"', "a=b"),
    ],
)
def test_settings_apply_to_the_lines_below(line: str, value: str) -> None:
    above, below = parse(f"1 * * * * a\n{line}\n2 * * * * b\n")
    assert isinstance(above, CronLine)
    assert isinstance(below, CronLine)
    assert above.settings == {}
    assert below.settings == {"NAME": value}


def test_cronie_keeps_what_is_in_quotes() -> None:
    text = "A=' single '\nB=\"'twice'\"\n1 * * * * x\n"
    (found,) = parse_crontab(text, is_system=False, is_cronie=True)
    assert isinstance(found, CronLine)
    assert found.settings == {"A": " single ", "B": "'twice'"}


def test_a_setting_may_have_any_name() -> None:
    assert only("A'B=x\n1 * * * * x\n").settings == {"A'B": "x"}


def test_blank_lines_and_comments_are_ignored() -> None:
    assert parse("\n   \t\n# x\n  # 5 * * * * y\n") == []


@pytest.mark.parametrize(
    "line, why",
    [
        ("61 * * * * x", 'minute "61": 61 is not one of 0 to 59'),
        ("* * * 0 * x", 'month "0": 0 is not one of 1 to 12'),
        ("-5 * * * * x", "begins with a dash, which only cronie accepts"),
        ("@Daily x", "@Daily is not a time of cron"),
        ("* * * * fri-sun x", "the range fri-sun ends before it begins; write fri-7"),
        ("* 5-3 * * * x", "the range 5-3 ends before it begins"),
        ("*/0 * * * * x", "the step /0 must be 1 or more"),
        ("5/10 * * * * x", "crons differ on 5/10; write 5-59/10"),
        ("0~30 * * * * x", "a random time (~)"),
        ("* * * * x", "the command"),
        ("* * * * * ", "has no command"),
        ("* * * * * * x", "has a * too much"),
        ("NAME=", 'sets NAME to nothing, which cron refuses; write NAME=""'),
        ("@fortnightly x", "@fortnightly is not a time of cron"),
        ("@daily", "has no command"),
        ("* * * * * x\r", "ends with a carriage return"),
        ("* * * 1,,2 * x", "is not a value, a range or a step"),
    ],
)
def test_what_cron_refuses_is_told(line: str, why: str) -> None:
    (found,) = parse(f"{line}\n")
    assert isinstance(found, InvalidLine)
    assert (why in found.why) or (why == "the command" and "day of the week" in found.why)
    assert found.raw == line


@pytest.mark.parametrize(
    "command, text, stdin",
    [
        ("cat", "cat", None),
        ("cat%", "cat", None),
        ("cat%one%two", "cat", "one\ntwo\n"),
        ("cat%one%", "cat", "one\n"),
        ("cat%%x", "cat", "\nx\n"),
        (r"date +\%F%a\%b\c", "date +%F", "a%b\\c\n"),
        (r"echo 'a\\b' c\d", r"echo 'a\b' c\d", None),
        (r"echo \\%x", "echo \\", "x\n"),
        ("echo end\\", "echo end\\", None),
    ],
)
def test_percent_signs_and_backslashes(command: str, text: str, stdin: str | None) -> None:
    assert split_command(command, is_cronie=False) == (text, stdin)


def test_cronie_keeps_two_backslashes() -> None:
    assert split_command(r"echo a\\b \%", is_cronie=True) == (r"echo a\\b %", None)


def test_lines_that_takeover_disabled_are_recognized() -> None:
    found = only("#mythjobs nightly-2# 5 * * * *  root x\n", is_system=True)
    assert (found.disabled_as, found.raw) == ("nightly-2", "5 * * * *  root x")
