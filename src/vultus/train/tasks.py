"""Which tasks there are, by the name that a config calls them."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import BadInput
from .config import TrainConfig
from .task import Task


def _position(config: TrainConfig) -> Task:
    from .position_task import make_position_task

    return make_position_task(config)


TASKS: dict[str, Callable[[TrainConfig], Task]] = {"position": _position}
"""Name -> what makes the task from a config; imported when it is asked for."""


def make_task(config: TrainConfig) -> Task:
    """The task of a config.

    Raises:
        BadInput: there is no such task, or it does not know one of the options.
    """
    if config.task not in TASKS:
        raise BadInput(f"task {config.task!r}: there is none of this name; choose one of {', '.join(TASKS)}")
    return TASKS[config.task](config)
