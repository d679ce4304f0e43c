"""To come."""

from __future__ import annotations

from types import ModuleType

from flux.recorder.patches import Patches


def patch(patches: Patches, library: ModuleType) -> None:
    """Hook nothing yet."""
