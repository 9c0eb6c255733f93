"""How `tests/properties` draws its examples."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Enough to find an edge, and few enough for `make test`; the same in each run; no time limit, for busy machines.
PROPERTY = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
