"""``prefect.yaml`` and ``prefect.env`` say what the code says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture(scope="module")
def deployments(root: Path) -> dict[str, dict[str, Any]]:
    """By the name that Prefect shows: that of the function of the flow, and of the deployment."""
    document = yaml.safe_load((root / "deployments" / "prefect.yaml").read_text(encoding="utf-8"))
    assert document["build"] == document["push"] == document["pull"] == []
    return {f"{each['entrypoint'].rsplit('.', 1)[1]}/{each['name']}": each for each in document["deployments"]}


def test_prefect_accepts_the_file(root: Path) -> None:
    from prefect.cli.deploy._models import PrefectYamlModel

    PrefectYamlModel.model_validate(yaml.safe_load((root / "deployments" / "prefect.yaml").read_text(encoding="utf-8")))


def test_every_deployment_is_there_and_goes_where_the_topology_says(deployments: dict[str, dict[str, Any]]) -> None:
    from flows import topology

    expected = {f"reconstruct_dropped/{topology.DEPLOYMENT}": {"name": topology.FLOW.name}}
    for step, place in topology.STEPS.items():
        queue = {"work_queue_name": place.queue} if place.queue else {}
        expected[f"run_step/{step}"] = {"name": place.pool, **queue}
    expected["drop_folder/drop"] = {"name": topology.WATCH.name}
    assert {name: each["work_pool"] for name, each in deployments.items()} == expected


def test_entrypoints_are_flows_that_are_installed(deployments: dict[str, dict[str, Any]]) -> None:
    from prefect import Flow
    from prefect.utilities.importtools import import_object

    names = {"reconstruct_dropped": "reconstruct-file", "run_step": "step", "drop_folder": "drop-folder"}
    for name, each in deployments.items():
        assert ":" not in each["entrypoint"]  # Prefect takes one with a colon for a file
        flow = import_object(each["entrypoint"])
        assert isinstance(flow, Flow)
        assert flow.name == names[name.split("/")[0]]


def test_drop_folder_is_the_one_of_the_compose_file(
    deployments: dict[str, dict[str, Any]], services: dict[str, Any]
) -> None:
    drop = deployments["drop_folder/drop"]
    command = services["watcher"]["command"]
    assert drop["parameters"]["folder"] == command[1]
    assert drop["parameters"]["out"] == command[command.index("--out") + 1]
    assert f"{drop['schedules'][0]['interval']}s" == command[command.index("--every") + 1]
    assert services["watcher"]["healthcheck"]["test"][-1] == f"watch-{drop['name']}"
    assert drop["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}


def test_steps_that_go_elsewhere_have_workers(services: dict[str, Any]) -> None:
    from flows import topology

    remote = services["worker-flow"]["environment"]["AUTOMAT_REMOTE"].split(",")
    assert set(remote) == set(topology.STEPS)
    served: dict[str, set[str]] = {}
    for name in ("worker-gpu", "worker-library", "worker-flow"):
        role = services[name]["command"][1]
        for pool, queues in topology.places([role]).items():
            served.setdefault(pool, set()).update(queues)
    for place in topology.STEPS.values():
        assert (place.queue or "") in {"", *served[place.pool]}


def test_settings_are_real_ones_and_as_the_code_has_them(settings: dict[str, str]) -> None:
    from prefect.settings.legacy import _get_settings_fields
    from prefect.settings.models.root import Settings

    from flows.private_server import worker_environment

    known = _get_settings_fields(Settings)
    wanted = worker_environment(Path("/cache"))
    for name, value in settings.items():
        assert name in known or name == "DO_NOT_TRACK", name
        assert wanted.get(name, value) == value, name


def test_nothing_is_reported_to_anybody(settings: dict[str, str]) -> None:
    assert settings["DO_NOT_TRACK"] == "1"
    for name in ("SERVER_ANALYTICS_ENABLED", "TELEMETRY_ENABLE_RESOURCE_METRICS", "SERVER_UI_SHOW_PROMOTIONAL_CONTENT"):
        assert settings[f"PREFECT_{name}"] == "false"
