"""The real turns of the master without their thread: what would wait says so instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mythjobs.clock import Now
from mythjobs.errors import StoreFull, StoreUnavailable
from mythjobs.master import requests
from mythjobs.master.core import MasterCore
from mythjobs.master.turn_runner import _GROWING, Arrival, CommittedTurn, TurnRunner
from mythjobs.store.open import Store


class Later(Exception):
    """The store takes nothing now; what has arrived must be brought again."""


class Unexpected(BaseException):
    """A turn that the core cannot handle is a fault of the product, whoever caused it."""


class SimTurns(TurnRunner):
    def __init__(
        self,
        store: Store,
        core: MasterCore,
        clock: Callable[[], Now],
        committed: Callable[[CommittedTurn], None],
    ) -> None:
        super().__init__(store, core, clock, on_commit=committed, on_failure=_raise)

    def load(self) -> None:
        self._store.run_transaction(lambda tx: self._core.load(tx, self._clock()))

    def turn(self, arrived: list[Arrival]) -> None:
        """Raises Later, with what is left in `arrived`."""
        self._process(arrived)

    def _run_turn(self, arrived: Sequence[Arrival], failed_connections: Sequence[int] = ()) -> None:
        try:
            super()._run_turn(arrived, failed_connections)
        except (StoreFull, StoreUnavailable):
            raise
        except Exception as error:
            what = ", ".join(type(each.item).__name__ for each in arrived)
            raise Unexpected(f"a turn of {what} raised {error!r}") from error

    def _wait_for_store(self, arrived: list[Arrival], error: StoreFull | StoreUnavailable) -> None:
        if isinstance(error, StoreFull) and self._reject_kind(arrived, _GROWING, error):
            return
        self._reject_kind(arrived, requests.Request, error)
        raise Later


def _raise(error: BaseException) -> None:
    raise error
