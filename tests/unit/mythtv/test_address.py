from pathlib import Path

import pytest

from mythjobs.errors import BadRequest, ConfigError
from mythjobs.mythtv.database.address import find_address, parse_url, read_config_file

CONFIG = """<?xml version="1.0" encoding="utf-8"?>
<Configuration>
  <LocalHostName>attic</LocalHostName>
  <Database>
    <PingHost>1</PingHost>
    <Host>192.168.1.10</Host>
    <UserName>mythtv</UserName>
    <Password>p&amp;ss "1"</Password>
    <DatabaseName>mythconverg</DatabaseName>
    <Port>0</Port>
  </Database>
</Configuration>
"""


def test_a_config_file_of_mythtv(tmp_path: Path) -> None:
    path = tmp_path / "config.xml"
    path.write_text(CONFIG)
    found = read_config_file(path)
    assert (found.host, found.port, found.user) == ("192.168.1.10", 3306, "mythtv")
    assert found.password == 'p&ss "1"'
    assert "p&ss" not in repr(found)


def test_a_host_that_is_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "config.xml"
    path.write_text(CONFIG.replace("192.168.1.10", "/run/db.sock"))
    assert read_config_file(path).socket == "/run/db.sock"


def test_a_host_that_cannot_be_looked_up(tmp_path: Path) -> None:
    """Seen: UnicodeError of the socket, a traceback."""
    path = tmp_path / "config.xml"
    path.write_text(CONFIG.replace("192.168.1.10", "mythbox..lan"))
    with pytest.raises(ConfigError, match="correct Database/Host"):
        read_config_file(path)
    with pytest.raises(BadRequest, match=r'x: "mythbox\.\.lan" is not the name'):
        parse_url("mysql://me@mythbox..lan/tv", "x")


def test_missing_elements_have_the_defaults_of_mythtv(tmp_path: Path) -> None:
    path = tmp_path / "config.xml"
    path.write_text("<Configuration><Database><Port>3307</Port></Database></Configuration>")
    found = read_config_file(path)
    assert (found.host, found.port, found.password) == ("127.0.0.1", 3307, "mythtv")


def test_the_config_file_of_an_old_version(tmp_path: Path) -> None:
    path = tmp_path / "config.xml"
    path.write_text(
        "<Configuration><UPnP><MythFrontend><DefaultBackend><DBHostName>box</DBHostName>"
        "<DBPassword>x</DBPassword></DefaultBackend></MythFrontend></UPnP></Configuration>"
    )
    assert (read_config_file(path).host, read_config_file(path).password) == ("box", "x")


@pytest.mark.parametrize(
    "text, says",
    [
        ("<Configuration>", "not valid XML"),
        ("<html></html>", "its root is html"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><Configuration/>', "document type"),
    ],
)
def test_a_file_that_is_no_config_file(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "config.xml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        read_config_file(path)


def test_a_url() -> None:
    found = parse_url("mysql://me:a%2Fb@box:3307/tv?socket=/run/s", "x")
    assert (found.user, found.password, found.host, found.port) == ("me", "a/b", "box", 3307)
    assert (found.name, found.socket) == ("tv", "/run/s")


@pytest.mark.parametrize(
    "url", ["http://box/tv", "mysql://box:99999/tv", "mysql://box/tv?charset=x", "box"]
)
def test_a_url_that_names_no_database(url: str) -> None:
    with pytest.raises(BadRequest):
        parse_url(url, "x")


def test_the_first_that_is_given_is_used(tmp_path: Path) -> None:
    path = tmp_path / "config.xml"
    path.write_text(CONFIG)
    environ = {"MYTHCONFDIR": str(tmp_path), "HOME": "/nonexistent"}
    assert find_address(environ).host == "192.168.1.10"
    environ["MYTHJOBS_MYTHTV_DATABASE"] = "mysql://me:x@third/tv"
    assert find_address(environ).host == "third"
    assert find_address(environ, config=str(path)).host == "192.168.1.10"
    assert find_address(environ, url="mysql://second/tv").host == "second"
    with pytest.raises(BadRequest, match="omit one"):
        find_address(environ, url="mysql://second/tv", config=str(path))


def test_a_password_on_the_command_line_is_refused() -> None:
    with pytest.raises(BadRequest, match="other users"):
        find_address({}, url="mysql://me:secret@box/tv")


def test_without_any_address_the_error_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="--config"):
        find_address({"HOME": "/nonexistent"})


@pytest.mark.parametrize("url", ["mysql://[", "mysql://[::1/mythconverg", "mysql://host:x/"])
def test_an_invalid_url_in_the_command_line_is_refused(url: str) -> None:
    with pytest.raises(BadRequest, match=r"--database: .* use a URL like"):
        find_address({}, url=url)
