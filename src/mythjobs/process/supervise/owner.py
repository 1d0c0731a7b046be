"""What a keeper tells whoever has it keep children."""

from __future__ import annotations

from typing import Protocol, TypeVar

from mythjobs.process.supervise.child import Child

C_contra = TypeVar("C_contra", bound=Child, contravariant=True)


class Owner(Protocol[C_contra]):
    """What a keeper tells, in its loop's thread."""

    def spawned(self, child: C_contra) -> None:
        """There is a process."""

    def lasting(self, child: C_contra) -> None:
        """It has lived longer than a moment."""

    def let_go(self, child: C_contra) -> None:
        """It was held frozen, and no longer is, as it is being ended."""

    def over(self, child: C_contra) -> None:
        """It has ended and nothing of it is left, or it never came to be."""
