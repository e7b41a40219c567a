"""What the lab's server forgets."""

from __future__ import annotations

from datetime import timedelta

import pytest
from prefect.settings.models.root import Settings

from flows import lab_server

RETENTION = "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD"


def test_runs_are_forgotten_after_a_month_and_logs_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in lab_server.environment().items():
        monkeypatch.setenv(name, value)
    vacuum = Settings().server.services.db_vacuum
    assert vacuum.enabled_vacuum_types == {"events", "flow_runs", "orphans"}
    assert vacuum.retention_period == timedelta(days=30)


def test_what_the_operator_set_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RETENTION, "86400")
    assert RETENTION not in lab_server.environment()
