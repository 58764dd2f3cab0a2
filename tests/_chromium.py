"""A headless Chromium driven from the tests: the DevTools protocol over a pipe, nothing to download or install for it.

Names outside this machine do not resolve in it, and every request for one is recorded.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--disable-extensions", "--mute-audio", "--force-color-profile=srgb", "--remote-debugging-pipe",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip


def find_chromium() -> str | None:
    """Path of a Chromium or Chrome on this machine, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("CHROMIUM") or next((found for name in names if (found := shutil.which(name))), None)


class Browser:
    """One browser with one page. `with Browser() as b: b.open(url); b.evaluate("document.title")`."""

    def __init__(self, *, width: int = 1280, height: int = 900, timeout: float = 40):
        self.timeout = timeout
        self.events: list[dict[str, Any]] = []
        self._buffer, self._last_id = b"", 0
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._process, self._write, self._read = _start(self._profile.name)
        target = self._send("Target.createTarget", {"url": "about:blank"}, session=None)["targetId"]
        attached = self._send("Target.attachToTarget", {"targetId": target, "flatten": True}, session=None)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.resize(width, height)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._write)
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)
        self._profile.cleanup()

    # ---- the page --------------------------------------------------------------------------------------------------

    def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)

    def open(self, url: str) -> None:
        """Load `url`, wait for its load event and until no request is under way for half a second.

        On a busy machine Chromium now and then loses a navigation; then it is asked once more.
        """
        for last_try in (False, True):
            self.events.clear()
            self.call("Page.navigate", url=url)
            try:
                self._wait(lambda: any(e["method"] == "Page.loadEventFired" for e in self.events), "the load event")
                self._wait_for_rest(url)
                return
            except TimeoutError:
                if last_try:
                    raise
                self.call("Page.stopLoading")

    def _wait_for_rest(self, url: str) -> None:
        quiet_since = time.monotonic()
        deadline = quiet_since + self.timeout
        while time.monotonic() - quiet_since < 0.5:
            if self._pump(0.1) or self._pending():
                quiet_since = time.monotonic()
            if time.monotonic() > deadline:
                raise TimeoutError(f"expected {url} to come to rest, requests are still under way: {self._pending()}")

    def evaluate(self, script: str) -> Any:
        """Value of a JavaScript expression; a promise is awaited."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(_message(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """A key such as ("ArrowRight", 39), sent to the focused element."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def screenshot(self, path: Path | str, *, full: bool = False) -> None:
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full)["data"]
        Path(path).write_bytes(base64.b64decode(data))

    # ---- what happened on it ---------------------------------------------------------------------------------------

    def requests(self) -> list[str]:
        """Addresses that the page asked for since `open`, in order."""
        return [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]

    def foreign_requests(self) -> list[str]:
        """Those that would leave this machine."""
        urls = [urlsplit(url) for url in self.requests()]
        return [u.geturl() for u in urls if u.scheme not in ("data", "blob", "about") and u.hostname != "127.0.0.1"]

    def failed_requests(self) -> list[str]:
        """Answers with a status of 400 and above."""
        answers = [e["params"]["response"] for e in self.events if e["method"] == "Network.responseReceived"]
        return [f"{a['status']} {a['url']}" for a in answers if a["status"] >= 400]

    def errors(self) -> list[str]:
        """Uncaught exceptions and console errors."""
        found = [
            _message(e["params"]["exceptionDetails"]) for e in self.events if e["method"] == "Runtime.exceptionThrown"
        ]
        for e in self.events:
            if e["method"] == "Runtime.consoleAPICalled" and e["params"]["type"] in ("error", "assert"):
                found.append(" ".join(str(a.get("value", a.get("description"))) for a in e["params"]["args"]))
            if e["method"] == "Log.entryAdded" and e["params"]["entry"]["level"] == "error":
                found.append(f"{e['params']['entry']['text']} {e['params']['entry'].get('url', '')}".strip())
        return found

    # ---- the protocol ----------------------------------------------------------------------------------------------

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._send(method, params, session=self._session)

    def _send(self, method: str, params: dict[str, Any], session: str | None) -> dict[str, Any]:
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        wanted = self._last_id
        self._answer: dict[str, Any] = {}
        self._wait(lambda: self._answer.get("id") == wanted, f"an answer to {method}")
        if "error" in self._answer:
            raise RuntimeError(f"{method}: {self._answer['error']['message']}")
        return self._answer["result"]

    def _wait(self, condition, what: str) -> None:
        deadline = time.monotonic() + self.timeout
        while not condition():
            if not self._pump(0.2) and time.monotonic() > deadline:
                raise TimeoutError(f"expected {what} within {self.timeout:.0f} s")

    def _pump(self, seconds: float) -> bool:
        """Read what has come; whether anything had."""
        if not select.select([self._read], [], [], seconds)[0]:
            return False
        data = os.read(self._read, 1 << 20)
        if not data:
            raise RuntimeError("Chromium ended unexpectedly")
        *complete, self._buffer = (self._buffer + data).split(b"\0")
        for text in complete:
            message = json.loads(text)
            if "id" in message:
                self._answer = message
            else:
                self.events.append(message)
        return bool(complete)

    def _pending(self) -> set[str]:
        """Requests of the current document that are under way; a redirecting page's own ones don't count any more."""
        frames = [e["params"]["frame"] for e in self.events if e["method"] == "Page.frameNavigated"]
        loaders = [frame["loaderId"] for frame in frames if "parentId" not in frame][-1:]
        sent = [e["params"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        ends = ("Network.loadingFinished", "Network.loadingFailed")
        ended = {e["params"]["requestId"] for e in self.events if e["method"] in ends}
        return {p["requestId"] for p in sent if p["loaderId"] in loaders and p["requestId"] not in ended}


def _start(profile: str) -> tuple[subprocess.Popen, int, int]:
    """Chromium reads commands on descriptor 3 and writes answers on descriptor 4."""
    to_child, ours_out = os.pipe()
    ours_in, from_child = os.pipe()
    script = 'exec "$@" 3<&"$IN" 4>&"$OUT"'
    command = [
        "bash",
        "-c",
        script,
        "chromium",
        str(find_chromium()),
        *FLAGS,
        f"--user-data-dir={profile}",
        "about:blank",
    ]
    environment = {**os.environ, "IN": str(to_child), "OUT": str(from_child)}
    process = subprocess.Popen(
        command, pass_fds=(to_child, from_child), env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(to_child)
    os.close(from_child)
    return process, ours_out, ours_in


def _message(details: dict[str, Any]) -> str:
    exception = details.get("exception", {})
    return str(exception.get("description") or exception.get("value") or details.get("text"))
