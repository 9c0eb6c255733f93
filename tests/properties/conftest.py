"""Examples enough to find an edge, few enough for `make test`; no time limit, for machines that are busy."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "properties", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("properties")
