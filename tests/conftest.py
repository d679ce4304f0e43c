"""What all tests share: real PostgreSQL servers (see tests/servers), and how hypothesis runs."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

pytest_plugins = ["servers.fixtures"]

# A time limit for an example measures the machine's load, not our code; the test's own limit holds.
settings.register_profile(
    "flux", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("flux")
