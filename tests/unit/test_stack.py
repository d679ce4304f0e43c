"""The application's own frame, from stacks as the languages print them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.capture.otlp.stack import location

PYTHON = """Traceback (most recent call last):
  File "/srv/.venv/lib/python3.11/site-packages/starlette/routing.py", line 73, in app
    response = await f(request)
  File "/srv/shop/orders.py", line 42, in checkout
    charge(order)
  File "/srv/shop/payments.py", line 31, in charge
    client.post(url)
  File "/srv/.venv/lib/python3.11/site-packages/httpx/_client.py", line 1144, in post
    return self.request(
httpx.ReadTimeout: timed out
"""
NODE = """TypeError: Cannot read properties of null (reading 'plan')
    at Object.get (/srv/node_modules/pg/lib/client.js:526:17)
    at price (/srv/shop/pricing.js:12:21)
    at async checkout (file:///srv/shop/orders.mjs:42:5)
    at process.processTicksAndRejections (node:internal/process/task_queues:95:5)
"""
JAVA = """com.shop.PaymentTimeout: no answer
\tat java.base/java.net.http.HttpClient.send(HttpClient.java:12)
\tat org.springframework.web.client.RestTemplate.execute(RestTemplate.java:7)
\tat com.shop.payments.Charge.run(Charge.java:31)
\tat com.shop.Orders.checkout(Orders.java:42)
"""
DOTNET = """System.NullReferenceException: Object reference not set
   at Npgsql.NpgsqlConnector.Read(Boolean async) in /_/src/Npgsql/NpgsqlConnector.cs:line 1
   at Shop.Pricing.PlanAfter(String plan, String coupon) in /src/Shop/Pricing.cs:line 12
"""
GO = """goroutine 1 [running]:
runtime.panic(0x1)
\t/usr/local/go/src/runtime/panic.go:884 +0x213
main.(*Shop).checkout(0xc00001)
\t/srv/shop/orders.go:42 +0x1d
"""
RUBY = """/usr/lib/ruby/3.1.0/net/http.rb:987:in `connect': timed out (Net::OpenTimeout)
\tfrom /srv/gems/faraday-2.0/lib/faraday.rb:3:in `call'
\tfrom /srv/shop/payments.rb:31:in `charge'
"""


@pytest.mark.parametrize(
    ("stack", "place"),
    [
        (PYTHON, "/srv/shop/payments.py:31, charge"),
        (NODE, "/srv/shop/pricing.js:12, price"),
        (JAVA, "Charge.java:31, com.shop.payments.Charge.run"),
        (DOTNET, "/src/Shop/Pricing.cs:12, Shop.Pricing.PlanAfter"),
        (GO, "/srv/shop/orders.go:42, main.(*Shop).checkout"),
        (RUBY, "/srv/shop/payments.rb:31, charge"),
        ("Error: x\n    at /srv/shop/a.ts:3:9\n", "/srv/shop/a.ts:3"),
        (NODE.replace("/srv/shop", "/srv/node_modules/x"), None),
        ("no stack at all", None),
        ("", None),
        (None, None),
    ],
)
def test_the_innermost_frame_of_the_application(stack: str | None, place: str | None) -> None:
    assert location(stack) == place


def test_a_real_traceback_of_python(tmp_path: Path) -> None:
    code = tmp_path / "shop.py"
    code.write_text("import json\n\ndef price(text):\n    return json.loads(text)\n\nprice('{')\n")
    done = subprocess.run([sys.executable, str(code)], capture_output=True, text=True, check=False)
    assert location(done.stderr) == f"{code}:4, price"


@given(st.text(alphabet='at (/.js:1\n)File",lineo', max_size=400))
def test_any_text_is_read(text: str) -> None:
    location(text)


def test_a_long_stack_does_not_take_long() -> None:
    start = time.thread_time()
    for piece in ("    at f (", 'File "', "a(", "\tat a.b(", "x" * 50, " "):
        location(piece * 20_000)
    assert time.thread_time() - start < 5
