from __future__ import annotations

import json
import subprocess
import sys

import httpx

from benchmarks.scripted_llm import CHOICES, scripted


def ask(base_url: str, question: dict[str, object]) -> httpx.Response:
    messages = [{"role": "user", "content": json.dumps(question)}]
    return httpx.post(f"{base_url}/chat/completions", json={"model": "m", "messages": messages}, trust_env=False)


def branch(response: httpx.Response) -> str:
    return str(json.loads(response.json()["choices"][0]["message"]["content"])["branch"])


def test_each_choice_is_one_of_the_legal_ones_and_always_the_same() -> None:
    legal = ["widen_search", "substitute", "accept"]
    for name in CHOICES:
        with scripted(name) as script:
            found = {branch(ask(script.base_url, {"legal": legal})) for _ in range(2)}
        assert len(found) == 1
        assert found <= set(legal)
    with scripted("random") as script:
        assert {branch(ask(script.base_url, {"legal": legal, "attempt": n})) for n in range(20)} == set(legal)


def test_answers_follow_the_script_and_then_its_last_entry() -> None:
    with scripted("401", "first") as script:
        statuses = [ask(script.base_url, {"legal": ["a", "b"]}).status_code for _ in range(3)]
        assert statuses == [401, 200, 200]
        assert len(script.requests) == 3
        assert ask(script.base_url, {}).status_code == 400


def test_the_command_says_how_to_use_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.scripted_llm", "--port", "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
    url = line.split()[0].removeprefix("AUTOMAT_LLM_BASE_URL=")
    assert url.startswith("http://127.0.0.1:")
    assert not url.endswith(":0/v1")
