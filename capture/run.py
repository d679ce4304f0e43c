"""What every part of one capture run shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flux.capture.baseline import Say
from flux.capture.meter import Meter
from flux.capture.settings import Settings
from flux.decoder.slot import Stop
from flux.ledger.writer import Writer
from flux.redaction import Redactor


@dataclass(frozen=True, slots=True)
class Run:
    """One capture run."""

    settings: Settings
    writer: Writer
    meter: Meter
    stop: Stop
    """True once the run is to end."""
    say: Say
    """Tells people; never a value."""
    wait: Callable[[float], object]
    """Sleep for so many seconds, or until the run is to end."""
    redactor: Redactor | None = None
    """Redacts whatever `writer` is given; None without rules."""
