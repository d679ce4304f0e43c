"""An exception as it is recorded: type, message, stack, and where in the user's own code it came from."""

from __future__ import annotations

import sysconfig
import time
import traceback
from functools import cache
from pathlib import Path
from types import CodeType, TracebackType

from flux.recorder.record import Record

MESSAGE_CHARS_MAX = 4096
"""Characters of a message that are kept."""
STACK_CHARS_MAX = 32 * 1024
"""Characters of a stack that are kept: its end, where the exception was raised."""
FRAMES_MAX = 200
"""Frames of a stack that are written out; a recursion has a thousand."""

_OURS = str(Path(__file__).parent)
_LIBRARIES = tuple(
    {path for name in ("stdlib", "platstdlib", "purelib", "platlib") if (path := sysconfig.get_path(name))}
)


def note(record: Record, error: BaseException) -> None:
    """Put an exception on a span: the event, the status, `error.type`; on one that has ended nothing."""
    if record.ended_ns:
        return
    kind = name_of(error)
    stack = "".join(traceback.format_exception(type(error), error, error.__traceback__, limit=-FRAMES_MAX))
    event = {
        "exception.type": kind,
        "exception.message": _message(error),
        "exception.stacktrace": stack[-STACK_CHARS_MAX:],
    }
    record.events.append((time.time_ns(), "exception", event))
    record.failed = kind
    record.set("error.type", kind)


def name_of(error: BaseException) -> str:
    """Return the exception's full name."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def location(error: BaseException, root: Path) -> str | None:
    """Return `path/from/root.py:LINE, function` of the innermost frame in the user's own code.

    An exception raised from another is looked at first, then its cause, for a framework may have
    wrapped what the user's code raised. None when no frame is the user's.
    """
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        found = _innermost(each.__traceback__, root)
        if found is not None:
            return found
        each = each.__cause__ or each.__context__
    return None


def _message(error: BaseException) -> str:
    try:
        return str(error)[:MESSAGE_CHARS_MAX]
    except Exception:  # noqa: BLE001 (the application's own __str__)
        return "[flux: its message cannot be had]"


def _innermost(trace: TracebackType | None, root: Path) -> str | None:
    found = None
    while trace is not None:
        code = trace.tb_frame.f_code
        if is_users(code.co_filename):
            found = _place(code, trace.tb_lineno, root)
        trace = trace.tb_next
    return found


def _place(code: CodeType, line: int, root: Path) -> str:
    path = Path(code.co_filename)
    if path.is_relative_to(root):
        path = path.relative_to(root)
    return f"{path}:{line}, {code.co_name}"


@cache
def is_users(filename: str) -> bool:
    """Whether a source file is the user's: no library's, not the standard library's, not ours."""
    if filename.startswith(("<", _OURS)):
        return False
    return not filename.startswith(_LIBRARIES) and not {"site-packages", "dist-packages"} & set(
        Path(filename).parts
    )
