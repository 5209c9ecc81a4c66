"""Options that belong together reach a command as one value. What both commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

Command = Callable[..., Any]


def gathered(
    kind: type[Any], name: str, options: Sequence[Callable[[Command], Command]] = ()
) -> Callable[[Command], Command]:
    """Return a decorator that adds options to a command, which gets them as one dataclass.

    Args:
        kind: the dataclass; a field without an option of its name keeps its default.
        name: of the parameter that the command gets.
        options: click's decorators, in the order of the help.
    """
    names = [field.name for field in fields(kind)]

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_value(*arguments: Any, **settings: Any) -> Any:
            given = {field: settings.pop(field) for field in names if field in settings}
            return command(*arguments, **{name: kind(**given)}, **settings)

        return with_options(with_value, options)

    return decorate


def with_options(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    """Add options to a command, in the order of the help."""
    for option in reversed(options):
        command = option(command)
    return command
