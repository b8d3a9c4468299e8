"""A real browser as a telephone: Chromium without a screen, driven over its debugging pipe, with a tone file as its microphone.

Theory of operation. The browser is started with `--remote-debugging-pipe`: JSON messages that end in a zero byte, on descriptors 3
(to it) and 4 (from it). One page is opened and its functions are called (`page/phone.js`); what they give back comes as JSON. The page
is served by this process over TLS with the box's own certificate, and that key is the only one the browser is told to accept. Nothing
of it outlives `stop`: the browser leads a process group of its own, which is ended as a whole.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import select
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.e2e.appliance import DIE_WITH_TEST
from tests.e2e.audio import Sound

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "build" / "browser" / "page"
RATE = 8000
START_S = 60.0
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-dev-shm-usage", "--mute-audio",
    "--autoplay-policy=no-user-gesture-required", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
    # The tests' own network has no interface but loopback; host names made up for addresses (mDNS) would need one.
    "--allow-loopback-in-peer-connection", "--disable-features=WebRtcHideLocalIpsWithMdns,MediaRouter,OptimizationHints",
)  # fmt: skip


class NotFetchedError(Exception):
    """Browser or JsSIP could not be fetched: whatever needs them is not run."""


def prepare() -> None:
    """Fetch what is missing. NotFetchedError where it cannot be had, AssertionError for every other fault."""
    done = subprocess.run([str(ROOT / "tools" / "browser.sh")], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode == 3:
        raise NotFetchedError((ROOT / "build" / "browser.missing").read_text().strip())
    assert done.returncode == 0, f"tools/browser.sh ended with {done.returncode}:\n{done.stdout}{done.stderr}"


class Silent(SimpleHTTPRequestHandler):
    """The page's files, without a word."""

    def log_message(self, format: str, *args: Any) -> None:
        return


class Chromium:
    """One browser with one page on an appliance's certificate (`tls`: its folder); `hz` is what its microphone hears."""

    def __init__(self, folder: Path, *, host: str, tls: Path, microphone: Path) -> None:
        self.folder = folder
        self.host = host
        self.tls = tls
        self.microphone = microphone
        self._next = 0
        self._read = b""
        self._session = ""
        self.complaints: list[str] = []

    def start(self) -> Chromium:
        """Serve the page, start the browser, load the page."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.tls / "server.crt", self.tls / "server.key")
        self._server = ThreadingHTTPServer(("0.0.0.0", 0), partial(Silent, directory=str(PAGES)))
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._serving = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._serving.start()
        self.port = self._server.server_address[1]
        key = x509.load_pem_x509_certificate((self.tls / "server.crt").read_bytes()).public_key()
        pin = base64.b64encode(hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()).decode()
        self._to, self._from = self._launch(
            ["chromium", *FLAGS, f"--ignore-certificate-errors-spki-list={pin}", f"--use-file-for-fake-audio-capture={self.microphone}",
             f"--user-data-dir={self.folder / 'profile'}", "--remote-debugging-pipe", "about:blank"]
        )  # fmt: skip
        target = self._ask("Target.createTarget", {"url": f"https://{self.host}:{self.port}/phone.html"}, START_S)["targetId"]
        self._session = self._ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        self._ask("Runtime.enable")
        self.until(lambda: self._shows("typeof phone == 'object'"), "the page is loaded", START_S)
        return self

    def _launch(self, command: list[str]) -> tuple[int, int]:
        """Start it with its two pipes as descriptors 3 and 4; our ends."""
        their_in, to = os.pipe()
        out, their_out = os.pipe()
        shell = ["bash", "-c", f'exec 3<&{their_in} 4>&{their_out} {their_in}<&- {their_out}>&-; exec "$@"', "chromium"]
        self._log = (self.folder / "chromium.log").open("wb")
        self.process = subprocess.Popen(
            [*DIE_WITH_TEST, *shell, *command], pass_fds=(their_in, their_out), stdin=subprocess.DEVNULL, stdout=self._log,
            stderr=self._log, start_new_session=True, env={**os.environ, "HOME": str(self.folder)},
        )  # fmt: skip
        os.close(their_in)
        os.close(their_out)
        return to, out

    def stop(self) -> None:
        """End browser and server."""
        if hasattr(self, "process"):
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait(10)
            os.close(self._to)
            os.close(self._from)
            self._log.close()
        if hasattr(self, "_server"):
            self._server.shutdown()
            self._server.server_close()
            self._serving.join(5)

    # --- the page -----------------------------------------------------------------------------------------------------

    def evaluate(self, expression: str) -> Any:
        """Value of an expression of the page; promises are waited for."""
        told = self._ask("Runtime.evaluate", {"expression": expression, "awaitPromise": True, "returnByValue": True})
        if "exceptionDetails" in told:
            raise AssertionError(f"{expression}: {told['exceptionDetails'].get('exception', told['exceptionDetails'])}")
        return told["result"].get("value")

    def _shows(self, condition: str) -> bool:
        """Whether this holds of a page that loads: while one document makes room for the next there is nobody to ask."""
        try:
            return bool(self.evaluate(condition))
        except AssertionError:
            return False

    def evaluate_on(self, url: str, expression: str) -> Any:
        """Value of an expression of another page, which is opened for it."""
        home, self._session = self._session, ""
        target = self._ask("Target.createTarget", {"url": url})["targetId"]
        self._session = self._ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        try:
            loaded = f"location.href == {json.dumps(url)} && document.readyState == 'complete'"
            self.until(lambda: self._shows(loaded), url)
            return self.evaluate(expression)
        finally:
            self._session = home

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the page's `phone`."""
        return self.evaluate(f"phone.{name}({', '.join(json.dumps(one) for one in arguments)})")

    def events(self, name: str) -> list[dict[str, Any]]:
        """What the page was told under this name, in order."""
        told: list[dict[str, Any]] = self.evaluate(f"phone.events.filter(one => one.name === {json.dumps(name)})")
        return told

    def wait(self, name: str, count: int = 1, timeout: float = 15.0) -> dict[str, Any]:
        """The event of this name with this number, when it has come."""
        self.until(lambda: len(self.events(name)) >= count, f"event {name!r}, number {count}", timeout)
        return self.events(name)[count - 1]

    def until(self, condition: Callable[[], Any], what: str, timeout: float = 15.0) -> None:
        """Wait for a fact; the test fails with what the browser said when it does not come."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                happened = [{**one, "sdp": "..."} if "sdp" in one else one for one in self.evaluate("window.phone ? phone.events : []")]
                raise AssertionError(f"not within {timeout} s: {what}\n{happened}\n{self.complaints[-20:]}\n{self.said()[-3000:]}")
            time.sleep(0.05)

    def heard(self) -> Sound:
        """What came from the far end in the call so far, at 8 kHz."""
        samples = np.frombuffer(base64.b64decode(self.call("heard")), dtype="<i2").astype(np.float64)
        return Sound(samples, RATE)

    def said(self) -> str:
        lines = (self.folder / "chromium.log").read_text(errors="replace").splitlines()
        return "\n".join(line for line in lines if "dbus/" not in line and not line.startswith("ALSA lib"))

    # --- the pipe -----------------------------------------------------------------------------------------------------

    def _ask(self, method: str, parameters: dict[str, Any] | None = None, timeout: float = 15.0) -> dict[str, Any]:
        self._next += 1
        number = self._next
        request: dict[str, Any] = {"id": number, "method": method, "params": parameters or {}}
        if self._session:
            request["sessionId"] = self._session
        os.write(self._to, json.dumps(request).encode() + b"\0")
        deadline = time.monotonic() + timeout
        while True:
            message = self._message(deadline, method)
            if message.get("id") == number:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error']}")
                result: dict[str, Any] = message["result"]
                return result
            if message.get("method") in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
                self.complaints.append(json.dumps(message["params"])[:500])

    def _message(self, deadline: float, what: str) -> dict[str, Any]:
        while b"\0" not in self._read:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._from], [], [], left)[0]:
                raise AssertionError(f"the browser does not answer {what}:\n{self.said()[-3000:]}")
            more = os.read(self._from, 1 << 20)
            if not more:
                raise AssertionError(f"the browser is gone ({what}):\n{self.said()[-3000:]}")
            self._read += more
        text, _, self._read = self._read.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message
