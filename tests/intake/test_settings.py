"""Where `flux up` listens for spans, who may send them, and what it does when it cannot."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from capture.rig import Rig, make_rig
from flux.capture.otlp.intake import NotListening
from flux.capture.settings import IntakeSettings
from flux.capture.status import read_status
from flux.cli.intake import intake_settings
from flux.ledger.sources import Source
from flux.model.errors import UsageError
from intake.http import export, post, span
from intake.shelf import BOUNDS
from servers import Database, eventually, on


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def resolved(
    host: str | None = None, port: int | None = None, *, once: bool = False, **env: str
) -> IntakeSettings | None:
    return intake_settings(host, port, once=once, environment=env)


def test_the_order_is_option_then_file_then_default(project: Path) -> None:
    assert resolved() == IntakeSettings("127.0.0.1", 4318)
    assert resolved(once=True) is None
    (project / "token").write_text("from-a-file\n")
    (project / "flux.toml").write_text('[otlp]\nhost = "::1"\nport = 4000\ntoken_file = "token"\n')
    assert resolved() == IntakeSettings("::1", 4000, "from-a-file")
    assert resolved(FLUX_OTLP_TOKEN="from-env") == IntakeSettings("::1", 4000, "from-env")
    assert resolved("127.0.0.1", 1, once=True) == IntakeSettings("127.0.0.1", 1, "from-a-file", required=True)
    (project / "flux.toml").write_text("[otlp]\nenabled = false\n")
    assert resolved() is None
    assert resolved(port=0) == IntakeSettings(port=0, required=True)


def test_no_token_in_what_is_printed() -> None:
    assert "secret" not in repr(IntakeSettings(token="secret"))


@pytest.mark.parametrize(
    "content",
    [
        "otlp = 1",
        "[otlp]\nhots = 'x'",
        "[otlp]\nport = '1'",
        "[otlp]\nport = 70000",
        "[otlp]\nenabled = 1",
        "[otlp]\ntoken_file = 'missing'",
        "[otlp]\ntoken_file = 'empty'",
        "[otlp]\ntoken_file = 'two'",
    ],
)
def test_a_file_that_cannot_be_used(project: Path, content: str) -> None:
    (project / "empty").write_text("\n")
    (project / "two").write_text("two words")
    (project / "flux.toml").write_text(content)
    with pytest.raises(UsageError) as caught:
        resolved()
    assert "two words" not in str(caught.value)


@pytest.fixture
def rig(database: Database, tmp_path: Path) -> Rig:
    with database.connect() as connection:
        connection.execute("create table item (id int primary key)")
    return make_rig(database, tmp_path, "item")


@on((18, "pgoutput"))
def test_a_port_that_is_taken(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(NotListening, match="cannot listen"):
            rig.once(otlp=IntakeSettings(port=port, required=True))
        rig.once(otlp=IntakeSettings(port=port))
        assert any("going on without" in line for line in rig.lines)
        with pytest.raises(UsageError, match="without a token"):
            rig.once(otlp=IntakeSettings(host="0.0.0.0", port=0))  # noqa: S104


@pytest.mark.crash
@on((18, "pgoutput"))
def test_it_goes_on_while_the_source_is_away(rig: Rig) -> None:
    source = Source(rig.settings.source, rig.settings.plugin, rig.settings.slot)
    running = rig.start(otlp=IntakeSettings(port=0, bounds=BOUNDS))
    folder, dsn = rig.settings.ledger, rig.settings.dsn

    def state(wanted: str) -> bool:
        if running.error is not None:
            raise running.error
        return read_status(folder, source, dsn).state == wanted

    eventually(lambda: state("streaming"), within_s=30)
    address = read_status(folder, source, dsn).intake_address
    assert post(address, export(span(attributes={"http.method": "GET"}))).status == 200
    rig.database.server.stop()
    eventually(lambda: state("waiting"), within_s=30)
    assert post(address, export(span())).status == 200
    assert post(address, b"\xff").status == 400
    rig.database.server.start()
    eventually(lambda: state("streaming"), within_s=60)
    found = eventually(
        lambda: (now := read_status(folder, source, dsn)).exports_refused == 1 and now, within_s=10
    )
    assert found
    assert (found.requests, found.spans, found.spans_dropped) == (2, 2, 0)
    running.stop()
    assert read_status(folder, source, dsn).intake_address == ""
