"""The master's turn runner without its thread: instead of waiting for the store it raises."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mythjobs.clock import Now
from mythjobs.errors import StoreFailed, StoreFull, StoreUnavailable
from mythjobs.master import requests
from mythjobs.master.core import MasterCore
from mythjobs.master.inbox import Arrival
from mythjobs.master.isolation import OwnWork
from mythjobs.master.turn_runner import _GROWING, CommittedTurn, TurnRunner
from mythjobs.store.open import Store
from tests.simulation.store import BrokenRow


class StoreNotWritable(Exception):
    """The turn must be run again later."""


class TurnCrashed(BaseException):
    """The core raised an exception: a bug of the product, whatever the input."""


class SimTurnRunner(TurnRunner):
    def __init__(
        self,
        store: Store,
        core: MasterCore,
        clock: Callable[[], Now],
        on_commit: Callable[[CommittedTurn], None],
    ) -> None:
        super().__init__(store, core, clock, on_commit=on_commit, on_failure=_raise)

    def load(self) -> None:
        self._store.run_transaction(lambda tx: self._core.load(tx, self._clock()))

    def run_turn(self, arrivals: list[Arrival]) -> None:
        """Raises StoreNotWritable, and leaves what must be run again in `arrivals`."""
        self._process(arrivals)

    def _run_turn(
        self,
        arrived: Sequence[Arrival],
        failed_connections: Sequence[int] = (),
        work: OwnWork = OwnWork.ALL,
    ) -> None:
        try:
            super()._run_turn(arrived, failed_connections, work)
        except (StoreFailed, StoreFull, StoreUnavailable, BrokenRow):
            raise
        except Exception as error:
            items = ", ".join(type(each.item).__name__ for each in arrived)
            raise TurnCrashed(f"a turn of {items} raised {error!r}") from error

    def _wait_for_store(self, arrived: list[Arrival], error: StoreFull | StoreUnavailable) -> None:
        if isinstance(error, StoreFull) and self._reject_kind(arrived, _GROWING, error):
            return
        self._reject_kind(arrived, requests.Request, error)
        raise StoreNotWritable

    def _log_once(self, what: str, error: Exception) -> None:
        """Log nothing: the errors are injected."""


def _raise(error: BaseException) -> None:
    raise error
