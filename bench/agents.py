"""Benchmark of a master with many agents on the network: CPU and memory while they are idle, and
the time until all are back after their connections were closed.

The agents are simulated in one process, with real sockets and TLS, in a network namespace.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import time
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

import figures
import processes
import support
from mythjobs.agent.connection_history import choose_retry_delay_s
from mythjobs.agent.handshake import AgentIdentity, build_hello, verify_welcome
from mythjobs.clock import machine_now
from mythjobs.config.tls_client import compute_fingerprint, make_client_context
from mythjobs.errors import ProtocolError
from mythjobs.protocol import codec, handshake, joining
from mythjobs.protocol import messages as m

ADDRESS: Final = "10.77.0.1"
BAR_CPU_SHARE: Final = 0.60
BAR_RSS_MB: Final = 400.0
BAR_BACK_S: Final = 60.0
# A master admits eight connections of one address that have not identified themselves.
HANDSHAKES: Final = 6
CONNECT_TIMEOUT_S: Final = 300.0


class Fleet:
    """Simulated agents: each keeps a connection and sends a heartbeat every five seconds."""

    def __init__(self, port: int, authority: bytes, master_key: str) -> None:
        self._url = f"wss://{ADDRESS}:{port}/link"
        self._context = make_client_context(authority)
        self._master_key = master_key
        self._gate = asyncio.Semaphore(HANDSHAKES)
        self._changed = asyncio.Condition()
        self.connected = 0

    async def wait_connected(self, count: int) -> None:
        async with asyncio.timeout(CONNECT_TIMEOUT_S), self._changed:
            await self._changed.wait_for(lambda: self.connected == count)

    async def run_agent(self, number: int, key: Ed25519PrivateKey) -> None:
        identity = AgentIdentity(key, f"machine-{number}", "boot", f"incarnation-{number}")
        failures = 0
        while True:
            try:
                failures = await self._serve(identity, failures)
            except (OSError, TimeoutError, ProtocolError, WebSocketException):
                failures += 1
            await asyncio.sleep(choose_retry_delay_s(failures, is_local=False))

    async def _serve(self, identity: AgentIdentity, failures: int) -> int:
        """Connect, and send heartbeats until the connection ends. Return 0 failures then."""
        await self._gate.acquire()
        in_handshake = True
        try:
            async with connect(self._url, ssl=self._context, compression=None, proxy=None,
                               ping_interval=None, open_timeout=30) as socket:  # fmt: skip
                await self._shake_hands(socket, identity)
                self._gate.release()
                in_handshake = False
                await self._count(1)
                try:
                    await self._beat(socket)
                finally:
                    await self._count(-1)
        finally:
            if in_handshake:
                self._gate.release()
        return 0

    async def _shake_hands(self, socket: Any, identity: AgentIdentity) -> None:
        challenge = codec.decode_handshake(await socket.recv())
        assert isinstance(challenge, m.Challenge)
        channel = socket.transport.get_extra_info("ssl_object")
        fingerprint = compute_fingerprint(channel.getpeercert(binary_form=True))
        hello, statement = build_hello(
            challenge, identity, os.urandom(32).hex(), self._master_key, channel=fingerprint
        )
        await socket.send(codec.encode(hello), text=True)
        answer = codec.decode_handshake(await socket.recv())
        verify_welcome(answer, self._master_key, statement)

    async def _beat(self, socket: Any) -> None:
        receiver = asyncio.create_task(_discard(socket))
        number = 0
        try:
            while not receiver.done():
                number += 1
                beat = m.Heartbeat(number, [], machine_now().wall_ms)
                await socket.send(codec.encode(m.AgentFrame(number, 0, 2, [beat])), text=True)
                await asyncio.wait([receiver], timeout=m.HEARTBEAT_S)
        finally:
            receiver.cancel()

    async def _count(self, change: int) -> None:
        async with self._changed:
            self.connected += change
            self._changed.notify_all()


async def _discard(socket: Any) -> None:
    async for _ in socket:
        pass


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    with (
        support.temporary_directory() as directory,
        support.mythjobs_up(directory, jobs=2) as system,
    ):
        return asyncio.run(_measure(arguments, system))


async def _measure(arguments: argparse.Namespace, system: support.RunningSystem) -> dict[str, Any]:
    api = system.api
    port = api.post("network", {"open": True})["port"]
    master = int(api.get("status")["pid"])
    keys, master_key = [], ""
    for number in range(arguments.agents):
        if number % 100 == 0:
            support.show_progress(f"agents: {number} of {arguments.agents} have joined …")
        key = Ed25519PrivateKey.generate()
        token = joining.parse_token(api.post("invitations", {})["token"])
        joined = api.post(
            "join/token",
            {"invitation": token.token_id, "secret": token.secret.hex(),
             "machine_key": handshake.encode_public_key(key), "name": f"machine-{number}"},
        )  # fmt: skip
        keys.append(key)
        master_key = joined["master_key"]
    authority = (system.state / "tls" / "authority.pem").read_bytes()
    before_mb = processes.read_rss_mb(master)
    fleet = Fleet(port, authority, master_key)
    agents = [asyncio.create_task(fleet.run_agent(*each)) for each in enumerate(keys)]
    try:
        begin_s = time.monotonic()
        support.show_progress("agents: connecting …")
        await fleet.wait_connected(arguments.agents)
        connect_s = time.monotonic() - begin_s
        support.show_progress(f"agents: measuring for {arguments.seconds:.0f} s …")
        share = 0.0
        if arguments.seconds:
            await asyncio.sleep(2 * m.HEARTBEAT_S)
            cpu_s, begin_s = processes.read_cpu_s(master), time.monotonic()
            await asyncio.sleep(arguments.seconds)
            share = (processes.read_cpu_s(master) - cpu_s) / (time.monotonic() - begin_s)
        rss_mb = processes.read_rss_mb(master)
        support.show_progress("agents: closing all connections …")
        await asyncio.to_thread(api.post, "network", {"open": False})
        await fleet.wait_connected(0)
        await asyncio.to_thread(api.post, "network", {"open": True})
        begin_s = time.monotonic()
        await fleet.wait_connected(arguments.agents)
        back_s = time.monotonic() - begin_s
    finally:
        for each in agents:
            each.cancel()
        await asyncio.wait(agents)
    return {
        "agents": arguments.agents,
        "seconds": arguments.seconds,
        "cpu_share": share,
        "bar_cpu_share": BAR_CPU_SHARE,
        "rss_mb": rss_mb,
        "growth_mb": rss_mb - before_mb,
        "bar_rss_mb": BAR_RSS_MB,
        "connect_s": connect_s,
        "back_s": back_s,
        "bar_back_s": BAR_BACK_S,
    }


def rows(result: dict[str, Any]) -> tuple[str, list[figures.Row]]:
    share, rss_mb, back_s = result["cpu_share"], result["rss_mb"], result["back_s"]
    per_agent_kb = 1000 * result["growth_mb"] / result["agents"]
    return f"agents: {result['agents']} connected with TLS, a heartbeat every 5 s", [
        figures.Row(
            "CPU of the master", f"{share:.3f} of a core", "1 core", f"{share:.3f}",
            f"≤ {BAR_CPU_SHARE}", share <= BAR_CPU_SHARE,
        ),
        figures.Row(
            "resident memory", f"{rss_mb:.0f} MB", bar=f"≤ {BAR_RSS_MB:.0f} MB",
            is_met=rss_mb <= BAR_RSS_MB,
        ),
        figures.Row("  of it for an agent", f"{per_agent_kb:.0f} kB"),
        figures.Row("first connection of all", f"{result['connect_s']:.1f} s"),
        figures.Row(
            "all back after a storm", f"{back_s:.1f} s", bar=f"≤ {BAR_BACK_S:.0f} s",
            is_met=back_s <= BAR_BACK_S,
        ),
    ]  # fmt: skip


def enter_namespace() -> None:
    """Run this program again in a network namespace, where nobody else reaches its port."""
    if os.environ.get("MYTHJOBS_BENCH_NAMESPACE"):
        return
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        sys.exit("agents: needs unshare(1) and ip(8); install util-linux and iproute2")
    options = ["--net"] if os.geteuid() == 0 else ["--net", "--map-root-user"]
    script = (
        "ip link set lo up && ip link add lan type veth peer name other && "
        f'ip address add {ADDRESS}/24 dev lan && ip link set lan up && exec "$@"'
    )
    os.environ["MYTHJOBS_BENCH_NAMESPACE"] = "1"
    program = [sys.executable, *sys.argv]
    os.execvp("unshare", ["unshare", *options, "sh", "-c", script, "sh", *program])


if __name__ == "__main__":
    enter_namespace()
    parser = argparse.ArgumentParser(prog="agents", description=__doc__)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30.0, help="0: only the storm")
    figures.run_benchmark(parser, measure, rows)
