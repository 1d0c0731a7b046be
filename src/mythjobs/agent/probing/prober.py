"""Prober: finds out in the background what this machine can do, and reports it when it changes."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from mythjobs.agent.probing.mounts import find_mounts
from mythjobs.agent.probing.probe_cache import ProbeCache, ProbeTarget, find_targets
from mythjobs.protocol.scaling import MachineDescription

# The first probes run after the start of the agent, when its first jobs have started.
_DELAY_S: Final = 5.0
# Looking whether a program or a mount has changed takes a millisecond.
_CHECK_INTERVAL_S: Final = 600.0
# Longer than all probes together may take by their own limits, if only a few of them hang.
_TIMEOUT_S: Final = 600.0

log = logging.getLogger(__name__)


class Prober:
    """Keeps the description of this machine up to date."""

    def __init__(
        self,
        cache_path: Path,
        path_variable: str,
        on_change: Callable[[MachineDescription], None],
    ) -> None:
        """path_variable: the PATH of jobs. on_change: gets each description that differs."""
        self._cache_path = cache_path
        self._path_variable = path_variable
        self._on_change = on_change
        self._cache: ProbeCache | None = None
        self._reported: MachineDescription | None = None

    async def run(self, delay_s: float = _DELAY_S) -> None:
        """Report what earlier probes have found, then probe what is new, until cancelled."""
        while True:
            try:
                await self._run(delay_s)
            except (OSError, RuntimeError) as error:
                # The machine lacks processes, threads, descriptors or memory now.
                log.warning(
                    "cannot find out what this machine can do: %s; trying again later", error
                )
                await asyncio.sleep(_CHECK_INTERVAL_S)

    async def _run(self, delay_s: float) -> None:
        # In threads: a directory of PATH may be on a disk that hangs.
        self._cache = cache = await asyncio.to_thread(ProbeCache, self._cache_path)
        targets = await asyncio.to_thread(find_targets, self._path_variable)
        if not cache.find_missing(targets):
            await self._report(targets)
        await asyncio.sleep(delay_s)
        while True:
            targets = await asyncio.to_thread(find_targets, self._path_variable)
            if missing := cache.find_missing(targets):
                await self._probe(targets, missing)
            await self._report(targets)
            await asyncio.sleep(_CHECK_INTERVAL_S)

    async def _probe(self, targets: dict[str, ProbeTarget], missing: dict[str, str]) -> None:
        assert self._cache is not None
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "mythjobs.agent.probing.probe_run",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                printed, _ = await process.communicate(json.dumps(missing).encode())
            results = json.loads(printed)
        except (TimeoutError, ValueError) as error:
            why = "they took too long" if isinstance(error, TimeoutError) else "see above"
            log.warning("cannot find out what this machine can do: %s; trying again later", why)
            return
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.terminate()
                await process.wait()
        await asyncio.to_thread(self._cache.add, targets, results)

    async def _report(self, targets: dict[str, ProbeTarget]) -> None:
        assert self._cache is not None
        found = MachineDescription(
            self._cache.list_labels(targets),
            self._cache.list_gpus(targets),
            await asyncio.to_thread(find_mounts),
        )
        if found != self._reported:
            self._reported = found
            self._on_change(found)
