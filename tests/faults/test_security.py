"""A server with a password, secrets that stay where they are, and nothing that is unpickled."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psutil
import pytest
from faults import drops
from faults.lab import ROOT, Installation, free_port, until

pytestmark = pytest.mark.slow

KEY = "sk-5f1d0c3a9be24477"

READS = [
    ("GET", "admin/version"),
    ("GET", "admin/settings"),
    ("POST", "flow_runs/filter"),
    ("POST", "flows/filter"),
    ("POST", "artifacts/filter"),
    ("POST", "logs/filter"),
    ("POST", "variables/filter"),
    ("POST", "block_documents/filter"),
    ("GET", "work_pools/automat-flow"),
]
WRITES = [
    ("POST", "flows/"),
    ("POST", "deployments/"),
    ("POST", "work_pools/"),
    ("DELETE", "work_pools/automat-flow"),
    ("POST", "admin/database/clear"),
    ("POST", "variables/"),
    ("POST", "automations/"),
]


@contextmanager
def indiscreet_model() -> Iterator[str]:
    """A language model that refuses, and repeats the key that it was given."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append(self.headers.get("Authorization", ""))
            body = json.dumps({"error": {"message": f"wrong key: {asked[-1]}"}}).encode()
            self.send_response(401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    asked: list[str] = []
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/v1"
        assert asked[0] == f"Bearer {KEY}"  # it has been asked indeed
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def refuse(lab: Installation) -> None:
    """The API answers 401 to whoever has no password, or a wrong one."""
    user, password = lab.auth.split(":")
    for auth in (None, (user, "wrong"), ("", ""), (user, password[:-1])):
        for method, path in READS + WRITES:
            answer = httpx.request(method, f"{lab.url}/api/{path}", json={}, auth=auth, timeout=30)
            assert answer.status_code == 401, (method, path, answer.status_code)
            assert password not in answer.text
    bare = {name: value for name, value in lab.client.items() if not name.startswith("PREFECT_API_AUTH")}
    command = [sys.executable, "-m", "flows.cli", "deploy"]
    done = subprocess.run(command, env=bare, cwd=lab.folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode != 0


def holding(folder: Path, secrets: dict[str, bytes]) -> list[str]:
    """Files with a secret in them."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.suffix != ".secret":
            data = path.read_bytes()
            found += [f"{name} in {path}" for name, secret in secrets.items() if secret in data]
    return found


def command_lines() -> str:
    """Of every process of the machine, as anybody can see them."""
    lines = []
    for each in psutil.process_iter():
        try:
            lines.append(Path(f"/proc/{each.pid}/cmdline").read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(lines)


def told_by_server(lab: Installation) -> str:
    """Whatever the API tells of runs, artifacts, logs, deployments and workers."""
    parts = []
    for path in ("flow_runs", "task_runs", "artifacts", "logs", "deployments", "variables", "block_documents"):
        offset = 0
        while part := lab.api(f"{path}/filter", limit=200, offset=offset):
            parts.append(json.dumps(part))
            offset += 200
    return "\n".join(parts)


def test_secrets_stay_where_they_are_and_nobody_comes_in_without() -> None:
    with indiscreet_model() as url:
        planner = {"AUTOMAT_LLM_BASE_URL": url, "AUTOMAT_LLM_MODEL": "any"}
        with Installation((*drops.OPTIONS, "--no-relax", "--planner", "llm"), **planner) as lab:
            key_file = lab.secret("llm", KEY)
            for part in (lab.flow, lab.watcher):
                part.environment["AUTOMAT_LLM_API_KEY_FILE"] = str(key_file)
            (lab.drop / "automat.toml").write_text('elements = "Sn,Se"\n')  # wrong, so that the planner is asked
            drops.write(lab.drop / "wrong.tif", 0)
            drops.BAD["text.tif"](lab.drop / "text.tif")
            lab.start()
            refuse(lab)
            assert lab.database is not None
            seen = command_lines()
            until(lambda: lab.settled(3), "every file has its end")

            secrets = {"password of the server": lab.auth, "of the database": lab.database.password, "key": KEY}
            inside = {name: secret.rpartition(":")[2].encode() for name, secret in secrets.items()}
            for name, secret in inside.items():
                assert secret.decode() not in seen, name
                assert secret.decode() not in told_by_server(lab), name
            for folder in (lab.logs, lab.out, lab.cache, lab.folder / "client", lab.folder / "server", lab.drop):
                assert not holding(folder, inside)

            only_json(lab.cache / "results")
            no_pickles(lab.cache / "records")


def only_json(results: Path) -> None:
    """Prefect's results are JSON: a pickle would run code when it is read."""
    files = [path for path in results.rglob("*") if path.is_file()]
    assert files
    for path in files:
        record = json.loads(path.read_text())
        assert record["metadata"]["serializer"]["type"] == "json", path
        json.loads(record["result"])


def no_pickles(records: Path) -> None:
    """Records are zip files of JSON and of arrays without objects."""
    import zipfile

    import numpy as np

    files = list(records.rglob("*.npz"))
    assert files
    for path in files:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                data = archive.open(name)
                if name.endswith(".json"):
                    json.load(data)
                else:
                    np.lib.format.read_array(data, allow_pickle=False)


def test_nobody_listens_beyond_this_machine_without_a_password() -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    command = [sys.executable, "-m", "flows.cli", "serve", "--host", "0.0.0.0", "--port", str(free_port())]
    environment = kept | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 1
    assert "--auth-file" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_no_dependency_has_a_known_vulnerability() -> None:
    if importlib.util.find_spec("pip_audit") is None:
        pytest.skip("pip-audit is not installed: pip install pip-audit")
    command = [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--no-deps", "--disable-pip"]
    command += ["--format", "json", "-r", str(ROOT / "constraints.txt")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except ValueError:
        pytest.skip(f"nobody could be asked: {done.stderr.strip().splitlines()[-1][:200]}")
    if all("skip_reason" in each for each in found):
        pytest.skip("the package index knows nothing of vulnerabilities")
    assert {each["name"]: each["vulns"] for each in found if each.get("vulns")} == {}
