"""Names that a path cannot contain: no request is sent."""

import pytest

from tests.integration.cli.conftest import Call
from tests.integration.cli.scripted import Master

NO_COMMAND = 'there is no command "{}"; see `mythjobs command list`'
NO_MACHINE = 'there is no machine "{}"; see `mythjobs machines`'
NO_NAME = (
    'semaphore name "{}" is invalid; use small letters and digits, joined by - _ or . (up to 100 '
    "characters)"
)


@pytest.mark.parametrize("name", ["", "vm/why", "/"])
@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["command", "show", "NAME"], NO_COMMAND),
        (["command", "show", "NAME", "--revisions"], NO_COMMAND),
        (["command", "edit", "NAME"], NO_COMMAND),
        (["command", "export", "NAME"], NO_COMMAND),
        (["command", "enable", "NAME"], NO_COMMAND),
        (["command", "remove", "NAME"], NO_COMMAND),
        (["submit", "NAME", "-p", "a=1"], NO_COMMAND),
        (["machine", "show", "NAME"], NO_MACHINE),
        (["machine", "set", "NAME", "--jobs", "3"], NO_MACHINE),
        (["machine", "allow", "NAME", "--all"], NO_MACHINE),
        (["machine", "hours", "NAME"], NO_MACHINE),
        (["machine", "dead", "NAME", "--reason", "x", "--yes"], NO_MACHINE),
        (["why", "--machine", "NAME"], NO_MACHINE),
        (["semaphore", "set", "NAME", "1"], NO_NAME),
        (["semaphore", "remove", "NAME"], NO_NAME),
    ],
)
def test_a_name_that_no_path_can_contain_is_refused(
    call: Call, master: Master, arguments: list[str], sentence: str, name: str
) -> None:
    done = call(*(name if word == "NAME" else word for word in arguments))
    assert done == (2, "", f"mythjobs: {sentence.format(name)}\n")
    assert master.requests == []
