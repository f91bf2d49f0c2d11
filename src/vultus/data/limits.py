"""Numbers that a user may choose, within reason."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import BadInput


def check_limits(options: object, limits: Mapping[str, tuple[float, float]]) -> None:
    """Fields of an options dataclass against the least and the most they may be, both included.

    Raises:
        BadInput: one is out of range; it is called as on the command line.
    """
    for name, (low, high) in limits.items():
        value = getattr(options, name)
        if not low <= value <= high:
            raise BadInput(f"--{name.replace('_', '-')} {value}: choose {low} to {high}")
