from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

Services = dict[str, dict[str, Any]]

ONE_SHOT = {"deploy", "tools"}
"""Services that end by themselves."""


def targets(service: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    """Mount point → source, and whether it can be written to."""
    mounts = {}
    for volume in service.get("volumes", []):
        if isinstance(volume, str):
            source, target, *mode = volume.split(":")
            mounts[target] = (source, mode != ["ro"])
        else:
            mounts[volume["target"]] = (volume["source"], not volume.get("read_only", False))
    return mounts


def test_what_the_lab_needs_is_there(services: Services) -> None:
    expected = {"postgres", "server", "deploy", "worker-gpu", "worker-library", "worker-flow", "watcher", "tools"}
    assert set(services) == expected


def test_nobody_is_root_or_can_become_it(services: Services) -> None:
    for name, service in services.items():
        assert str(service["user"]).split(":")[0] not in ("", "root", "0"), name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["read_only"] is True, name
        assert any(mount.startswith("/tmp:") for mount in service["tmpfs"]), name
        assert not service.get("privileged"), name


def test_what_dies_is_started_again_and_what_ends_is_not(services: Services) -> None:
    for name, service in services.items():
        assert service["restart"] == ("no" if name in ONE_SHOT else "unless-stopped"), name


def test_whatever_runs_on_has_a_health_check(services: Services) -> None:
    for name, service in services.items():
        check = service["healthcheck"]
        if name in ONE_SHOT:
            assert check == {"disable": True}, name
        else:
            assert check["test"][0] == "CMD", name
            assert {"interval", "timeout", "retries", "start_period"} <= set(check), name


def test_nothing_can_take_the_whole_machine(services: Services) -> None:
    for name, service in services.items():
        limits = service["deploy"]["resources"]["limits"]
        assert float(limits["cpus"]) > 0, name
        assert re.fullmatch(r"\d+g", limits["memory"]), name
        assert limits["pids"] > 0, name
        assert service["logging"]["options"].keys() >= {"max-size", "max-file"}, name


def test_only_this_machine_reaches_the_server_and_nothing_else_is_reachable(services: Services) -> None:
    assert {name: service["ports"] for name, service in services.items() if "ports" in service} == {
        "server": ["127.0.0.1:4200:4200"]
    }
    assert {name for name, service in services.items() if "outside" in service["networks"]} == {"server", "tools"}


def test_inner_network_has_no_way_out(compose: dict[str, Any]) -> None:
    assert compose["networks"]["inside"] == {"internal": True}


def test_passwords_come_from_files_and_from_nowhere_else(compose: dict[str, Any], root: Path) -> None:
    for service in compose["services"].values():
        for name, value in service["environment"].items():
            if re.search("PASSWORD|AUTH_STRING|CONNECTION_URL|API_KEY", name):
                assert name.endswith("_FILE"), name
                assert value.removeprefix("/run/secrets/") in service["secrets"], name
        assert not re.search("password|auth|://", " ".join(service.get("command", [])))
    made = (root / "deployments" / "make-secrets.sh").read_text(encoding="utf-8")
    for name, secret in compose["secrets"].items():
        assert secret == {"file": f"./deployments/secrets/{name}"}
        assert f"\nkeep {name} " in made
    assert "secrets/" in (root / "deployments" / ".gitignore").read_text(encoding="utf-8").split()


def test_each_service_has_only_the_secrets_it_needs(services: Services) -> None:
    for name, service in services.items():
        wanted = {"postgres": ["postgres_password"], "server": ["api_auth", "database_url"]}.get(name, ["api_auth"])
        assert service["secrets"] == wanted, name


def test_paths_mean_the_same_in_every_service(services: Services) -> None:
    workers = {name: service for name, service in services.items() if name not in ("postgres", "server", "deploy")}
    assert len({str(targets(service)) for service in workers.values()}) == 1
    for name, service in workers.items():
        mounts = targets(service)
        environment = service["environment"]
        assert mounts[environment["AUTOMAT_CACHE"]] == ("cache", True), name
        assert environment["PREFECT_RESULTS_LOCAL_STORAGE_PATH"] == f"{environment['AUTOMAT_CACHE']}/results", name
        assert mounts["/data/drop"] == ("/srv/drop", False), name
        assert mounts["/data/drop-results"] == ("/srv/drop-results", True), name


def test_named_volumes_are_declared_and_used(compose: dict[str, Any]) -> None:
    sources = {source for service in compose["services"].values() for source, _ in targets(service).values()}
    assert {source for source in sources if not source.startswith("/")} == set(compose["volumes"])


def test_workers_start_when_the_server_knows_of_them(services: Services) -> None:
    assert services["server"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services["deploy"]["depends_on"] == {"server": {"condition": "service_healthy"}}
    for name in ("worker-gpu", "worker-library", "worker-flow", "watcher"):
        assert services[name]["depends_on"]["deploy"] == {"condition": "service_completed_successfully"}, name


def test_one_image_of_this_version_for_everything_of_ours(services: Services, project: dict[str, Any]) -> None:
    for name, service in services.items():
        if name == "postgres":
            assert re.fullmatch(r"postgres:\d+-\w+", service["image"])
            continue
        assert service["image"] == f"automat:{project['project']['version']}-cpu", name
        arguments = service["build"]["args"]
        assert f"{arguments['UID']}:{arguments['GID']}" == service["user"], name


def test_cuda_changes_the_gpu_worker_alone(root: Path, services: Services) -> None:
    override = yaml.safe_load((root / "deployments" / "cuda.yml").read_text(encoding="utf-8"))
    assert set(override["services"]) == {"worker-gpu"}
    worker = override["services"]["worker-gpu"]
    assert worker["image"] == services["worker-gpu"]["image"].replace("-cpu", "-cuda")
    assert worker["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]


def test_commands_exist(services: Services) -> None:
    from typer.main import get_command
    from typer.testing import CliRunner

    from flows.cli import app

    known = get_command(app).commands  # type: ignore[attr-defined]
    for name, service in services.items():
        if "command" not in service:
            continue
        command, *arguments = service["command"]
        options = [word for word in arguments if word.startswith("--")]
        text = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
        assert command in known, name
        assert [option for option in options if option not in text] == [], name
