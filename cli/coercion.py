"""The words of a command line as values, without the typer release's validator for the usual ones.

Typer 0.29 coerces through pydantic, whose import takes 100 ms of CPU: a fifth of a cold
`flux state history`. A word that plainly is what its option wants is taken here; every other one
goes to typer, which says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import typer


def lighten(command: Any) -> None:
    """Give every parameter of `command`, and of the commands in it, a light coercion."""
    # With a context, because the help option is made for one.
    for parameter in command.get_params(typer.Context(command, **command.context_settings)):
        parameter._runtime_param = Light(parameter)
    children: Iterable[Any] = getattr(command, "commands", {}).values()
    for child in children:
        lighten(child)


@dataclass(frozen=True, slots=True)
class Light:
    """Stands in for typer's coercion of one parameter."""

    parameter: Any

    def coerce(self, value: Any, *, param: Any, ctx: Any) -> Any:
        """Return the value that `value` (words, or a default) means. Raises typer's `BadParameter`."""
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        annotation = param.type_descriptor.annotation
        if annotation is str and isinstance(value, str):
            return value
        if annotation is Path and isinstance(value, str):
            return Path(value)
        if annotation == list[str] and isinstance(value, (list, tuple)):
            return list(value)
        if annotation is int and _is_within(value, param):
            return int(value)
        if isinstance(annotation, type) and issubclass(annotation, Enum):
            for member in annotation:
                if value in {member, member.value}:
                    return member
        self.parameter._runtime_param = None
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def _is_within(value: Any, param: Any) -> bool:
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        return False
    low, high = getattr(param, "min", None), getattr(param, "max", None)
    return (low is None or int(value) >= low) and (high is None or int(value) <= high)
