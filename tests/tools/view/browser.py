"""A headless Chromium driven through its debugging pipe: pages opened, keys pressed, pictures taken. No package is needed."""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
BEGIN = """
import fcntl, os, sys
read, write = (fcntl.fcntl(int(word), fcntl.F_DUPFD, 10) for word in sys.argv[1:3])
os.dup2(read, 3)
os.dup2(write, 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""
CODES = {"ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35, " ": 32}


class Browser:
    """One tab. It ends with the context."""

    def __init__(self, program: str) -> None:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_read, self._write = os.pipe()  # the browser reads from 3 and writes to 4
        self._read, to_write = os.pipe()
        flags = [*FLAGS, "--remote-debugging-pipe", f"--user-data-dir={self._profile.name}", "about:blank"]
        begin = [sys.executable, "-c", BEGIN, str(to_read), str(to_write), program, *flags]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(begin, pass_fds=(to_read, to_write), stdout=quiet, stderr=quiet)
        os.close(to_read)
        os.close(to_write)
        self._buffer, self._number, self._session = b"", 0, None
        (target,) = [one for one in self._call("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        self._session = self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._read)
        os.close(self._write)
        self._profile.cleanup()

    def resize(self, width: int, height: int) -> None:
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def open(self, address: str, *, until: str) -> None:
        """Go there and wait until an expression is true."""
        self._call("Page.navigate", url=address)
        self.wait(until)

    def wait(self, expression: str, *, seconds: float = 60) -> None:
        ends = time.monotonic() + seconds
        while not self.evaluate(f"document.readyState === 'complete' && Boolean({expression})"):
            if time.monotonic() > ends:
                raise TimeoutError(
                    f"never true: {expression}; the page shows {self.evaluate('document.body.innerText')!r:.300}"
                )
            time.sleep(0.05)

    def evaluate(self, expression: str) -> object:
        found = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return found["result"].get("value")

    def press(self, key: str) -> None:
        code = CODES.get(key, ord(key.upper()[0]))
        about = {"key": key, "windowsVirtualKeyCode": code} | ({"text": key} if len(key) == 1 else {})
        self._call("Input.dispatchKeyEvent", type="keyDown", **about)
        self._call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", captureBeyondViewport=True)["data"]))

    def _call(self, method: str, **parameters: object) -> dict:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._buffer:
                part = os.read(self._read, 2**16)
                if not part:
                    raise RuntimeError("the browser has ended")
                self._buffer += part
            text, _, self._buffer = self._buffer.partition(b"\0")
            answer = json.loads(text)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
