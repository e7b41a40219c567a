"""A headless Chromium, spoken to through its DevTools protocol: open a page, wait for words on it, take its picture."""

from __future__ import annotations

import base64
import io
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from PIL import Image
from websockets.sync.client import connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

PATIENCE = 120.0
"""Seconds to wait for a page: a busy machine loads the UI slowly."""

SETTLE = 30.0
"""Seconds in which a page should come to rest."""

WIDTH = 1280
"""Pixels across a page."""


class Browser:
    """One page of a browser with a profile of its own in ``folder``."""

    def __init__(self, folder: Path) -> None:
        assert CHROMIUM
        self._numbers = itertools.count(1)
        self._process = subprocess.Popen(
            [
                *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
                *("--hide-scrollbars", "--force-prefers-reduced-motion", "--lang=en-GB"),
                *("--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._page = connect(self._address(folder / "DevToolsActivePort"), max_size=None, open_timeout=PATIENCE)
            self._call("Page.enable")
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._page.close()
        self._process.terminate()
        self._process.wait(30)

    def open(self, url: str, *words: str, height: int = 800) -> str:
        """Go to a page and wait until it shows all of some words; returns its text."""
        size = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        self._call("Page.navigate", url=url)
        return self.wait(*words)

    def wait(self, *words: str) -> str:
        """Wait until the page shows all of some words; returns its text."""
        deadline = time.monotonic() + PATIENCE
        while True:
            text = self.text()
            missing = [each for each in words if each not in text]
            if not missing:
                return text
            assert time.monotonic() < deadline, f"the page never showed {missing}, only:\n{text}"
            time.sleep(0.5)

    def text(self) -> str:
        """What a person reads on the page now, every space an ordinary one."""
        text = str(self.run("document.body ? document.body.innerText : ''"))
        return text.replace("\N{NO-BREAK SPACE}", " ")

    def run(self, script: str) -> Any:
        """Evaluate JavaScript on the page."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def picture(self) -> Image.Image:
        """What the page looks like once nothing on it changes any more."""
        before, now = None, self._shot()
        deadline = time.monotonic() + SETTLE
        while now != before and time.monotonic() < deadline:  # something may turn for ever
            time.sleep(1.5)
            before, now = now, self._shot()
        return now

    def _shot(self) -> Image.Image:
        shot = self._call("Page.captureScreenshot", format="png")
        return Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._page.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:  # between the answers come events
            message = json.loads(self._page.recv(PATIENCE))
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message}"
                return dict(message["result"])

    def _address(self, file: Path) -> str:
        deadline = time.monotonic() + PATIENCE
        while not (file.is_file() and file.read_text().count("\n")):
            assert self._process.poll() is None, "the browser ended at once"
            assert time.monotonic() < deadline, "the browser did not start"
            time.sleep(0.1)
        port = file.read_text().splitlines()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=PATIENCE) as answer:
            pages = json.load(answer)
        return str(next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page"))
