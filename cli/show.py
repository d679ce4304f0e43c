"""`flux demo`: the command around the demo."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave its server and ledger up afterwards.")] = False,
) -> None:
    """Show it on a small shop: an incident happens, is captured, and is answered. Needs nothing."""
    from flux.cli.demo import run

    run(keep=keep)
