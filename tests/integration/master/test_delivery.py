"""Delivery of messages by a real child process, to real services on the loopback address."""

from __future__ import annotations

import asyncio
import email
import math
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mythjobs.config.sealing import Seal
from mythjobs.errors import Unreachable
from mythjobs.master.notify import delivery as delivery_module
from mythjobs.master.notify import send_groups
from mythjobs.master.notify.delivery import DeliveryService
from mythjobs.master.notify.send_groups import SendGroups
from mythjobs.master.notify.sender import Sender
from mythjobs.master.requests import Message, Request
from mythjobs.master.state import MasterState
from tests.support.message_services import HttpService, SmtpService, http_service
from tests.unit.master.harness import Harness
from tests.unit.master.notify.test_turn_notify import add_channel, bell, messages, run_job

pytestmark = pytest.mark.slow


class HarnessStore:
    """The interface of the master that the delivery service needs, on a test's core and store."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness

    @property
    def state(self) -> MasterState:
        return self._harness.core.state

    async def read(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self._harness.store.snapshot() as tx:
            return function(tx, *args, **kwargs)

    async def execute(self, request: Request) -> Any:
        return self._harness.request(request)

    def post(self, message: Message) -> None:
        self._harness.turn(message)


class AwayOutputs:
    """Outputs that are on a machine that is not connected, which is known after `wait_s`."""

    wait_s = 0.0

    async def find_sizes(self, job: int, n: int) -> list[int]:
        await asyncio.sleep(self.wait_s)
        raise Unreachable("away")

    async def read(self, *_: Any, **__: Any) -> Any:
        raise Unreachable("away")


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Harness]:
    made = Harness(tmp_path)
    made.define()
    yield made
    made.close()


@pytest.fixture
def service() -> Iterator[HttpService]:
    with http_service() as found:
        yield found


@pytest.fixture
def no_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no channel rest: on a busy machine a service may take long to refuse a message."""
    monkeypatch.setattr(send_groups, "SLOW_S", math.inf)


async def send_due(delivery: DeliveryService) -> float:
    """Send the messages whose time has come. Return the seconds until there may be more."""
    wait_s = await delivery.start_sending()
    await delivery.wait_until_idle()
    return wait_s


def deliver(
    master: Harness,
    root: Path,
    story: Callable[[DeliveryService], Awaitable[None]],
    outputs: AwayOutputs | None = None,
) -> None:
    async def whole() -> None:
        delivery = DeliveryService(
            HarnessStore(master),
            outputs or AwayOutputs(),
            Sender(),
            Seal(root / "secrets.key"),
            lambda: master.now,
        )
        try:
            await story(delivery)
        finally:
            await delivery.close()

    asyncio.run(whole())


def test_a_message_is_sent_by_http(master: Harness, tmp_path: Path, service: HttpService) -> None:
    async def story(delivery: DeliveryService) -> None:
        url = delivery.seal.encrypt(f"json://127.0.0.1:{service.port}/hook")
        add_channel(master, url=url)
        run_job(master, master.join(), code=3)
        await send_due(delivery)
        assert await send_due(delivery) > 60

    deliver(master, tmp_path, story)
    [sent] = service.received
    assert (sent["title"], sent["type"]) == ("mythjobs: flag failed", "failure")
    assert sent["message"] == "job 1 on attic: exit code 3\n\nmythjobs show 1"
    assert messages(master, "sent") == [("mail", "flag failed")]


def test_a_message_is_sent_by_mail(master: Harness, tmp_path: Path) -> None:
    async def story(delivery: DeliveryService) -> None:
        async with SmtpService() as smtp:
            url = f"mailto://127.0.0.1:{smtp.port}?from=jobs@example.org&to=ann@example.org"
            add_channel(master, url=delivery.seal.encrypt(url), template="{name} broke\n{reason}")
            run_job(master, master.join(), code=3)
            await send_due(delivery)
            [mail] = smtp.mails
            found = email.message_from_string(mail)
            assert found["Subject"] == "flag broke"
            assert "ann@example.org" in found["To"]
            assert "exit code 3" in mail

    deliver(master, tmp_path, story)
    assert messages(master, "sent") == [("mail", "flag failed")]


@pytest.mark.usefixtures("no_rests")
def test_a_dead_channel_is_reported_through_another(
    master: Harness, tmp_path: Path, service: HttpService
) -> None:
    secret = "verysecret-token"

    async def story(delivery: DeliveryService) -> None:
        dead = delivery.seal.encrypt(f"json://user:{secret}@127.0.0.1:1/{secret}")
        add_channel(master, "dead", url=dead)
        live = delivery.seal.encrypt(f"json://127.0.0.1:{service.port}/")
        add_channel(master, "live", url=live, kinds=["lost"])
        run_job(master, master.join())
        for seconds in (0, 31, 121):
            master.advance(seconds)
            await send_due(delivery)
        await send_due(delivery)

    deliver(master, tmp_path, story)
    assert ("channel", "dead", 1) in bell(master)
    assert [each["title"] for each in service.received] == [
        "mythjobs: notification channel dead fails"
    ]
    row = master.core.state.notify.targets["dead"].row
    assert "Connection refused" in row.error
    assert secret not in row.error
    assert secret not in str(service.received)
    with master.store.snapshot() as tx:
        tx.cursor.execute("SELECT * FROM channel_message")
        assert secret not in str(tx.cursor.fetchall())
        tx.cursor.execute("SELECT * FROM channel")
        assert secret not in str(tx.cursor.fetchall())


def test_a_message_that_was_stored_is_sent_after_a_restart(
    master: Harness, tmp_path: Path, service: HttpService
) -> None:
    url = f"json://127.0.0.1:{service.port}/"
    add_channel(master, url=Seal(tmp_path / "secrets.key").encrypt(url))
    run_job(master, master.join())
    master.restart()

    async def story(delivery: DeliveryService) -> None:
        await send_due(delivery)

    deliver(master, tmp_path, story)
    assert [each["title"] for each in service.received] == ["mythjobs: flag failed"]


def test_without_its_key_file_a_channel_says_what_to_do(master: Harness, tmp_path: Path) -> None:
    async def story(delivery: DeliveryService) -> None:
        add_channel(master, url=delivery.seal.encrypt("json://127.0.0.1/"))
        (tmp_path / "secrets.key").unlink()
        run_job(master, master.join())
        await send_due(delivery)

    deliver(master, tmp_path, story)
    assert "add the channel again" in master.core.state.notify.targets["mail"].row.error


def test_heartbeat_urls_are_called_in_order(
    master: Harness, tmp_path: Path, service: HttpService
) -> None:
    from mythjobs.protocol import messages as m

    async def story(delivery: DeliveryService) -> None:
        master.define("backup", heartbeat=f"http://127.0.0.1:{service.port}/uuid")
        connection = master.join()
        for code in (0, 3):
            job_id = master.submit("backup").id
            assert master.take_grants() == [job_id]
            master.send_frame(connection, m.Started(job_id, 1, master.now.wall_ms))
            master.finish(connection, job_id, code=code)
        await send_due(delivery)

    deliver(master, tmp_path, story)
    assert service.called == ["/uuid/start", "/uuid", "/uuid/start", "/uuid/3"]


def test_only_the_time_of_the_service_counts_as_slow(
    master: Harness, tmp_path: Path, service: HttpService, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Seen: on a busy machine the start of the sender took over 2 s, and a channel whose service
    # refused the message at once rested.
    times_s: list[float] = []

    class Groups(SendGroups):
        def record_try(self, group: int, *, failed: bool, took_s: float, now_s: float) -> bool:
            times_s.append(took_s)
            return super().record_try(group, failed=failed, took_s=took_s, now_s=now_s)

    monkeypatch.setattr(delivery_module, "SendGroups", Groups)
    outputs = AwayOutputs()
    outputs.wait_s = 0.5

    async def story(delivery: DeliveryService) -> None:
        loop = asyncio.get_running_loop()
        service.status = 500
        add_channel(master, url=delivery.seal.encrypt(f"json://127.0.0.1:{service.port}/"))
        run_job(master, master.join())
        began_s = loop.time()
        await send_due(delivery)
        total_s = loop.time() - began_s
        assert len(service.received) == 1
        assert 0 < times_s[0] <= total_s - outputs.wait_s

    deliver(master, tmp_path, story, outputs)


def test_a_service_that_hangs_is_given_up_and_holds_nothing_up(
    master: Harness, tmp_path: Path, service: HttpService
) -> None:
    async def story(delivery: DeliveryService) -> None:
        async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await hung.wait()
            writer.close()

        hung = asyncio.Event()
        async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            call = delivery.sender.call
            stuck = asyncio.create_task(call(f"http://127.0.0.1:{port}/", timeout_s=1.0))
            assert (await call(f"http://127.0.0.1:{service.port}/ok")).error == ""
            assert await stuck == ("no answer for 1 s", 1.0)
            # The child that hung was killed; the next message starts another one.
            assert (await call(f"http://127.0.0.1:{service.port}/again")).error == ""
            hung.set()

    deliver(master, tmp_path, story)
    assert service.called == ["/ok", "/again"]


def test_a_channel_that_hangs_holds_up_no_other(
    master: Harness, tmp_path: Path, service: HttpService
) -> None:
    async def story(delivery: DeliveryService) -> None:
        async with await asyncio.start_server(_never_answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            urls = {
                "stuck": f"json://127.0.0.1:{port}/",
                "live": f"json://127.0.0.1:{service.port}/",
            }
            for name, url in urls.items():
                add_channel(master, name, url=delivery.seal.encrypt(url))
            connection = master.join()
            running = asyncio.create_task(delivery.run())
            for number in range(4):
                master.define(f"c{number}", heartbeat=f"http://127.0.0.1:{port}/{number}")
                run_job(master, connection, command=f"c{number}")
                delivery.wake()
                await asyncio.to_thread(service.wait_until, _has_received(service, number + 1))
            # The first message to each of the dead services has not been given up yet.
            assert messages(master, "pending")[0] == ("stuck", "c0 failed")
            while len(messages(master, "sent")) < 4:  # noqa: ASYNC110 - until the last is recorded
                await asyncio.sleep(0.01)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    deliver(master, tmp_path, story)
    assert messages(master, "sent") == [("live", f"c{number} failed") for number in range(4)]


@pytest.mark.usefixtures("no_rests")
def test_a_message_that_was_delayed_by_a_clock_that_was_ahead_is_sent(
    master: Harness, tmp_path: Path, service: HttpService
) -> None:
    year_ms = 365 * 86_400_000

    async def story(delivery: DeliveryService) -> None:
        master.now = master.now._replace(wall_ms=master.now.wall_ms + year_ms)
        service.status = 500
        add_channel(master, url=delivery.seal.encrypt(f"json://127.0.0.1:{service.port}/"))
        run_job(master, master.join())
        running = asyncio.create_task(delivery.run())
        await asyncio.to_thread(service.wait_until, lambda: len(service.received) == 1)
        await delivery.wait_until_idle()
        master.now = master.now._replace(wall_ms=master.now.wall_ms - year_ms)
        service.status = 200
        delivery.wake()
        await asyncio.to_thread(service.wait_until, lambda: len(service.received) == 2)
        await delivery.wait_until_idle()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    deliver(master, tmp_path, story)
    assert messages(master, "sent") == [("mail", "flag failed")]


def test_what_a_service_prints_is_no_result(master: Harness, tmp_path: Path) -> None:
    """A service of apprise may print; results of messages have a pipe of their own."""

    async def story(delivery: DeliveryService) -> None:
        assert await delivery.sender.check("json://127.0.0.1/") == ("json://127.0.0.1/…", "")
        child = delivery.sender._child
        assert child is not None
        assert os.readlink(f"/proc/{child.pid}/fd/1") == os.readlink(f"/proc/{child.pid}/fd/2")

    deliver(master, tmp_path, story)


def test_a_child_that_dies_is_an_error_of_its_messages(master: Harness, tmp_path: Path) -> None:
    async def story(delivery: DeliveryService) -> None:
        async with await asyncio.start_server(_never_answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            stuck = asyncio.create_task(delivery.sender.call(f"http://127.0.0.1:{port}/"))
            while delivery.sender._child is None:  # noqa: ASYNC110 - until it has started
                await asyncio.sleep(0.01)
            delivery.sender._child.kill()
            assert (await stuck).error == "the sender has ended"

    deliver(master, tmp_path, story)


def _has_received(service: HttpService, count: int) -> Callable[[], bool]:
    return lambda: len(service.received) == count


async def _never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


def test_a_heartbeat_call_of_long_ago_is_dropped(
    master: Harness, tmp_path: Path, service: HttpService
) -> None:
    async def story(delivery: DeliveryService) -> None:
        master.define("backup", heartbeat=f"http://127.0.0.1:{service.port}/uuid")
        run_job(master, master.join(), code=0, command="backup")
        master.advance(2 * 3600)
        await send_due(delivery)
        assert await send_due(delivery) > 60

    deliver(master, tmp_path, story)
    assert service.called == []


def test_the_watch_posts_a_lost_machine_once(
    master: Harness, tmp_path: Path, service: HttpService
) -> None:
    async def story(delivery: DeliveryService) -> None:
        add_channel(master, url=delivery.seal.encrypt(f"json://127.0.0.1:{service.port}/"))
        connection = master.join()
        delivery.watch_once()
        master.disconnect(connection)
        for _ in range(10):
            master.advance(30)
            delivery.watch_once()
        await send_due(delivery)
        await send_due(delivery)

    deliver(master, tmp_path, story)
    assert [each["title"] for each in service.received] == [
        "mythjobs: machine attic is not reachable"
    ]
