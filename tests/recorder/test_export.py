"""Spans on their way out: sent once, or kept on disk, or counted as dropped; never in the way."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flux import recorder
from flux.recorder.settings import Settings
from flux.recorder.spool import Spool
from recorder.collector import Collector, attributes_of
from servers import eventually

ROOT = Path(__file__).parents[2]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as made:
        yield made
        recorder.uninstall()


def count(name: str) -> int:
    return recorder.stats().get(name, 0)


def jobs(number: int, prefix: str = "job") -> None:
    for ordinal in range(number):
        with recorder.request(f"{prefix} {ordinal}", batch=ordinal):
            pass


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.otlp.gz"))


def test_a_job_arrives_once_with_its_resource(collector: Collector, tmp_path: Path) -> None:
    assert recorder.install("shop", endpoint=collector.endpoint, token="s3cret", spool=tmp_path, root=ROOT)
    assert recorder.install("again")  # changes nothing
    with recorder.request("send invoices", request_id="r-1", actor="cron"):
        pass
    assert recorder.flush(10)
    (span,) = collector.wait_for(1)
    assert span.name == "send invoices"
    assert attributes_of(span) == {"flux.request_id": "r-1", "flux.actor": "cron"}
    (resource,) = collector.resources
    assert resource["service.name"] == "shop"
    assert resource["telemetry.distro.name"] == "flux-recorder"
    head = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    assert resource["vcs.ref.head.revision"].removesuffix("+dirty") == head.stdout.strip()
    assert collector.headers[0]["authorization"] == "Bearer s3cret"
    assert "s3cret" not in repr(Settings("shop", token="s3cret"))


def test_a_collector_that_is_away_gets_everything_later_once_and_in_order(
    collector: Collector, tmp_path: Path
) -> None:
    collector.stop()
    recorder.install("shop", endpoint=collector.endpoint, spool=tmp_path)
    jobs(700)
    assert recorder.flush(10)
    assert files(tmp_path)
    jobs(700, "later")
    assert recorder.flush(10)
    collector.start()
    spans = collector.wait_for(1400)
    assert set(collector.times.values()) == {1}
    assert [span.name for span in spans] == [f"{name} {n}" for name in ("job", "later") for n in range(700)]
    eventually(lambda: not files(tmp_path), within_s=5, what="an empty spool")


def test_a_full_collector_is_left_alone_as_long_as_it_asks(collector: Collector, tmp_path: Path) -> None:
    collector.answers = [(503, {"retry-after": "2"})]
    recorder.install("shop", endpoint=collector.endpoint, spool=tmp_path)
    began = time.monotonic()
    jobs(5)
    collector.wait_for(5)
    assert time.monotonic() - began >= 2
    assert collector.attempts == 2
    assert set(collector.times.values()) == {1}


def test_what_is_rejected_is_counted_and_not_sent_again(collector: Collector, tmp_path: Path) -> None:
    before = count("spans_rejected")
    collector.answers = [(400, {})]
    recorder.install("shop", endpoint=collector.endpoint, spool=tmp_path)
    jobs(3)
    assert recorder.flush(10)
    assert count("spans_rejected") - before == 3
    jobs(2, "good")
    assert {span.name for span in collector.wait_for(2)} == {"good 0", "good 1"}
    assert not files(tmp_path)


def test_a_slow_collector_holds_up_nobody(collector: Collector, tmp_path: Path) -> None:
    collector.hold.clear()
    recorder.install("shop", endpoint=collector.endpoint, spool=tmp_path)
    jobs(1, "first")
    eventually(lambda: collector.attempts == 1, within_s=10, what="the first attempt")
    dropped = count("spans_dropped")
    jobs(10_000)
    # The one export is held until `hold` is set, below: had a job waited for it, it would wait now.
    assert (collector.attempts, len(collector.spans)) == (1, 0)
    lost = count("spans_dropped") - dropped
    assert lost == 10_000 - 8192
    collector.hold.set()
    collector.wait_for(8193)
    eventually(lambda: collector.dropped == lost, within_s=10, what="the number of dropped spans")


def test_the_spool_drops_the_oldest_and_says_so(tmp_path: Path) -> None:
    spool = Spool(tmp_path, bytes_max=1000, files_max=100)
    assert [spool.put(b"x" * 300, spans) for spans in (1, 2, 3, 4, 5)] == [0, 0, 0, 1, 2]
    assert [path.stat().st_size for path in spool.batches()] == [300] * 3
    assert spool.put(b"x" * 1001, 7) == 7
    few = Spool(tmp_path / "few", bytes_max=1000, files_max=2)
    assert [few.put(b"x", 10) for _ in range(4)] == [0, 0, 10, 10]
    assert spool.batches()[0].stat().st_mode & 0o777 == 0o600


PROCESS = """
import os, sys
from flux import recorder
recorder.install("shop", endpoint=sys.argv[1], spool=sys.argv[2])
with recorder.request("parent"):
    pass
if sys.argv[3] == "fork":
    child = os.fork()
    with recorder.request("child" if child == 0 else "parent again"):
        pass
    if child:
        os.waitpid(child, 0)
    else:
        recorder.flush(10)
        os._exit(0)
"""


def start(collector: Collector, folder: Path, way: str) -> None:
    command = [sys.executable, "-c", PROCESS, collector.endpoint, str(folder), way]
    subprocess.run(command, check=True, timeout=60)


def test_the_end_of_a_process_sends_what_is_left(collector: Collector, tmp_path: Path) -> None:
    start(collector, tmp_path, "end")
    assert [span.name for span in collector.spans.values()] == ["parent"]


def test_the_end_of_a_process_spools_what_cannot_be_sent(collector: Collector, tmp_path: Path) -> None:
    collector.stop()
    began = time.monotonic()
    start(collector, tmp_path, "end")
    assert time.monotonic() - began < 15
    assert len(files(tmp_path)) == 1
    collector.start()
    recorder.install("shop", endpoint=collector.endpoint, spool=tmp_path)  # the next process of the service
    (span,) = collector.wait_for(1)
    assert span.name == "parent"


def test_the_end_of_a_process_does_not_wait_for_a_collector_that_hangs(
    collector: Collector, tmp_path: Path
) -> None:
    collector.hold.clear()
    began = time.monotonic()
    start(collector, tmp_path, "end")
    assert time.monotonic() - began < 15
    assert len(files(tmp_path)) == 1


def test_a_forked_child_sends_its_own_spans_and_not_its_parents(collector: Collector, tmp_path: Path) -> None:
    start(collector, tmp_path, "fork")
    assert sorted(span.name for span in collector.wait_for(3)) == ["child", "parent", "parent again"]
    assert set(collector.times.values()) == {1}
    assert len({span.trace_id for span in collector.spans.values()}) == 3


def test_nothing_is_recorded_when_it_is_switched_off(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLUX_RECORDER", "off")
    assert not recorder.install("shop", endpoint=collector.endpoint, spool=tmp_path)
    with recorder.request("job", request_id="r-1") as request:
        assert recorder.current() is request
    assert recorder.flush()
    assert not collector.attempts


def test_settings_come_from_the_environment(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("FLUX_OTLP_ENDPOINT", collector.endpoint),
        ("FLUX_SERVICE", "billing"),
        ("FLUX_SPOOL", str(tmp_path)),
        ("FLUX_REVISION", "abc"),
    ):
        monkeypatch.setenv(name, value)
    recorder.install()
    jobs(1)
    collector.wait_for(1)
    assert collector.resources[0]["service.name"] == "billing"
    assert collector.resources[0]["vcs.ref.head.revision"] == "abc"


def test_a_wrong_endpoint_does_not_fail_the_application(caplog: pytest.LogCaptureFixture) -> None:
    assert not recorder.install("shop", endpoint="nonsense")
    assert "install" in caplog.text
    assert "nonsense" not in caplog.text
