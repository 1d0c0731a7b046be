"""The address of MythTV's database, from the backend."""

import pytest

from mythjobs.errors import NotAllowed, ProtocolError
from mythjobs.mythtv.bridge.discovery import fetch_database
from mythjobs.mythtv.database.address import DatabaseAddress
from mythjobs.mythtv.services.client import Services
from tests.support.mythtv.services import FakeServices

METHOD = "Myth/GetConnectionInfo"


def test_the_database_of_the_backend(fake: FakeServices, services: Services) -> None:
    database = {"Host": "localhost", "Port": "3307", "UserName": "u", "Password": "p", "Name": "n"}
    fake.answers[METHOD] = {"ConnectionInfo": {"Database": database}}
    found = fetch_database(services, "1234", "mythbox")
    assert found == DatabaseAddress("mythbox", 3307, "u", "p", "n")


@pytest.mark.parametrize("answer", [{}, {"ConnectionInfo": "x"}, {"ConnectionInfo": {}}])
def test_an_answer_without_a_database(
    fake: FakeServices, services: Services, answer: dict[str, object]
) -> None:
    fake.answers[METHOD] = answer
    with pytest.raises(NotAllowed, match="does not tell its database"):
        fetch_database(services, "1234", "mythbox")


def test_an_impossible_port(fake: FakeServices, services: Services) -> None:
    fake.answers[METHOD] = {"ConnectionInfo": {"Database": {"Host": "db", "Port": "x"}}}
    with pytest.raises(ProtocolError, match='sent "x" as Port'):
        fetch_database(services, "1234", "mythbox")
