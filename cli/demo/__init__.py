"""`flux demo`: a small shop, an incident, and the answers."""

from __future__ import annotations

from flux.cli.demo.tour import run

__all__ = ["run"]
