"""The real turns of the master without their thread: what would wait says so instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mythjobs.clock import Now
from mythjobs.errors import StoreAway, StoreFull
from mythjobs.master import requests
from mythjobs.master.core import Core
from mythjobs.master.turn_runner import _GROWS, Arrived, Committed, Turns
from mythjobs.store.open import Store


class Later(Exception):
    """The store takes nothing now; what has arrived must be brought again."""


class Unexpected(BaseException):
    """A turn that the core cannot handle is a fault of the product, whoever caused it."""


class SimTurns(Turns):
    def __init__(
        self,
        store: Store,
        core: Core,
        clock: Callable[[], Now],
        committed: Callable[[Committed], None],
    ) -> None:
        super().__init__(store, core, clock, committed=committed, failed=_raise)

    def load(self) -> None:
        self._store.run_transaction(lambda tx: self._core.load(tx, self._clock()))

    def turn(self, arrived: list[Arrived]) -> None:
        """Raises Later, with what is left in `arrived`."""
        self._turn(arrived)

    def _together(self, arrived: Sequence[Arrived], broken: Sequence[int] = ()) -> None:
        try:
            super()._together(arrived, broken)
        except (StoreFull, StoreAway):
            raise
        except Exception as error:
            what = ", ".join(type(each.what).__name__ for each in arrived)
            raise Unexpected(f"a turn of {what} raised {error!r}") from error

    def _wait_out(self, arrived: list[Arrived], error: StoreFull | StoreAway) -> None:
        if isinstance(error, StoreFull) and self._refuse_those(arrived, _GROWS, error):
            return
        self._refuse_those(arrived, requests.Request, error)
        raise Later


def _raise(error: BaseException) -> None:
    raise error
