"""The recorder lives in other people's processes: what it loads, and what it says where a part is missing."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("pyarrow", "duckdb", "pglast", "textual", "rich", "typer", "numpy", "orjson")
LIBRARIES = ("psycopg", "psycopg2", "asyncpg", "django", "flask", "starlette", "httpx", "urllib3", "aiohttp")


def python(program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_it_loads_nothing_heavy_and_no_library_that_the_application_does_not_use() -> None:
    done = python(
        f"""
import sys
from flux import recorder
recorder.install('x', endpoint='http://127.0.0.1:9', spool='')
print([name for name in {(*HEAVY, *LIBRARIES)!r} if name in sys.modules])
"""
    )
    assert done.stdout == "[]\n", done.stderr


def test_without_opentelemetry_it_says_what_to_install() -> None:
    done = python("import sys; sys.modules['opentelemetry'] = None; import flux; print(flux.request)")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "pip install 'flux-ledger[recorder]'"


HOOKED = """
from flux import recorder
recorder.install('x', endpoint='http://127.0.0.1:9', spool='')
import psycopg, asyncpg, psycopg2, httpx, urllib3, aiohttp
def hooked():
    places = [
        psycopg.Cursor.execute.__code__,
        psycopg2.connect.__code__,
        asyncpg.protocol.Protocol.__mro__,
        httpx.HTTPTransport.handle_request.__code__,
        urllib3.HTTPConnectionPool.urlopen.__code__,
        aiohttp.ClientSession.__init__.__code__,
    ]
    return sum('recorder' in str(place) for place in places)
print(hooked(), type(psycopg.__loader__).__name__)
recorder.uninstall()
print(hooked())
"""


def test_a_library_is_hooked_when_it_is_imported_and_put_back() -> None:
    done = python(HOOKED)
    assert done.stdout == "6 SourceFileLoader\n0\n", done.stdout + done.stderr
