"""What the tests of the command line share: a hand-made ledger, and a way to run commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli import checkout, shop
from flux.cli.main import run


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()


Flux = Callable[..., Result]


@pytest.fixture(scope="session")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger of `shop`; no test may change it."""
    return shop.make(tmp_path_factory.mktemp("cli") / "ledger")


@pytest.fixture(scope="session")
def requests_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger of `checkout`; no test may change it."""
    return checkout.make(tmp_path_factory.mktemp("cli") / "requests")


@pytest.fixture
def flux(
    ledger: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> Flux:
    """Runs `flux` in this process: in UTC, over the shop's ledger, without a database."""
    for name in ("NO_COLOR", "FORCE_COLOR", "FLUX_DSN", "DATABASE_URL", "FLUX_DEBUG", "PGHOST", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("FLUX_LEDGER", str(ledger))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Result:
        capfdbinary.readouterr()
        code = run(arguments)
        captured = capfdbinary.readouterr()
        return Result(code, captured.out, captured.err.decode())

    return call
