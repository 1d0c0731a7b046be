import os
from collections.abc import Iterator

import click
import pytest

from mythjobs.cli.options import CEILING, IntegerType, NumberType, decode_argument
from mythjobs.cli.program import group

TITLE = "$(touch /tmp/pwned); `id` \"' -rf `\n😀 ä"


def test_an_argument_keeps_its_bytes() -> None:
    assert decode_argument(os.fsdecode(TITLE.encode())) == TITLE


@pytest.mark.parametrize("data", [b"\xff", b"caf\xe9", b"\xed\xa0\x80"])
def test_invalid_utf8_is_refused_with_its_position(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"is not valid UTF-8 \(byte \d is 0x"):
        decode_argument(os.fsdecode(data))


def list_parameters(command: click.Command, name: str) -> Iterator[tuple[str, click.Parameter]]:
    for each in command.params:
        yield f"{name} {each.name}", each
    if isinstance(command, click.Group):
        context = click.Context(command)
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from list_parameters(found, f"{name} {child}")


NUMBERS = [
    (name, each.type)
    for name, each in list_parameters(group, "mythjobs")
    if isinstance(each.type, click.types.IntParamType | click.types.FloatParamType)
]


def test_all_numbers_of_the_command_line_are_checked_in_one_place() -> None:
    assert len(NUMBERS) > 20
    others = [name for name, each in NUMBERS if not isinstance(each, IntegerType | NumberType)]
    assert others == []


@pytest.mark.parametrize("text", ["\u0661", "\u0967", "1_0", " 1", "\xb2", "", "1e1", "0x1"])
def test_a_number_is_written_in_ascii_digits(text: str) -> None:
    """Seen: `jobs --batch` and others took the digits of all scripts, and 1_0."""
    for kind in (IntegerType(), NumberType(), CEILING):
        with pytest.raises(click.BadParameter, match=r"is not a (whole )?number"):
            kind.convert(text, None, None)


def test_numbers_may_have_a_sign_and_numbers_of_frames_a_fraction() -> None:
    assert [IntegerType(-100, 100).convert(each, None, None) for each in ("-5", "+7", 9)] == [
        -5, 7, 9,
    ]  # fmt: skip
    assert NumberType().convert("29.97", None, None) == 29.97


def test_a_machine_has_no_more_slots_than_its_policy_may_say() -> None:
    """Seen: `up --jobs 9999999999` was accepted."""
    assert [CEILING.convert(each, None, None) for each in ("auto", "10000")] == ["auto", 10_000]
    with pytest.raises(click.BadParameter, match="10001 is not in the range"):
        CEILING.convert("10001", None, None)
