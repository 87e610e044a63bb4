"""A headless Chromium, driven over the WebDriver protocol with the standard library alone."""

import base64
import json
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self
from urllib.error import URLError
from urllib.request import Request, urlopen

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # W3C WebDriver: key of a web element
START_S = 20.0  # ours: chromedriver answers within one second on an idle machine
CALL_S = 60.0  # ours: no call of a test takes longer
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # containers run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-angle=swiftshader",  # WebGL without a graphics card
    "--enable-unsafe-swiftshader",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # no host is ever reached
)
KEYS = {"right": "\ue014", "left": "\ue012", "home": "\ue011", "end": "\ue010", "enter": "\ue007"}


def find_chromium() -> tuple[str, str] | None:
    """Return the paths of Chromium and chromedriver, or None if one is missing."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    browser = browser or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


class Chromium:
    """A browser session; a context manager that ends the browser and removes its profile."""

    def __init__(self, *, size: tuple[int, int] = (1400, 1000), flags: tuple[str, ...] = ()):
        found = find_chromium()
        if found is None:
            raise RuntimeError("expected chromium and chromedriver on PATH")
        browser, driver = found
        self._profile = tempfile.mkdtemp(prefix="chromium-")
        port = _free_port()
        self._url = f"http://127.0.0.1:{port}"
        self._driver = subprocess.Popen(
            [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            self._await_driver()
            self._start(browser, size, flags)
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, url: str) -> None:
        """Load a page and wait until it is loaded."""
        self._call("POST", "/url", {"url": url})

    def run(self, script: str, *args: Any) -> Any:
        """Return what the body of a JavaScript function returns; args are its `arguments`."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(args)})

    def run_async(self, script: str, *args: Any) -> Any:
        """Return what the awaited body of an async JavaScript function returns."""
        body = (
            "const done = arguments[arguments.length - 1];"
            f"(async function() {{ {script} }}).apply(null, arguments)"
            ".then(done, (problem) => done({problem: String(problem && problem.stack)}));"
        )
        value = self._call("POST", "/execute/async", {"script": body, "args": list(args)})
        if isinstance(value, dict) and "problem" in value:
            raise AssertionError(value["problem"])
        return value

    def until(self, expression: str, *, seconds: float = 10.0) -> Any:
        """Return the value of a JavaScript expression once it is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := self.run(f"return {expression};"):
                return value
            time.sleep(0.03)  # ours: short beside what is waited for
        raise AssertionError(f"not true within {seconds} s: {expression}")

    def click(self, selector: str) -> None:
        """Click the first element of a CSS selector, as a reader does."""
        self._call("POST", f"/element/{self._element(selector)}/click", {})

    def click_at(self, selector: str, right: float, down: float) -> None:
        """Click inside the first element of a CSS selector, at a fraction of its sides."""
        inside = "const e = document.querySelector(arguments[0]); e.scrollIntoView();"
        box = self.run(inside + "return e.getBoundingClientRect().toJSON();", selector)
        x, y = round(box["x"] + right * box["width"]), round(box["y"] + down * box["height"])
        moves = [
            {"type": "pointerMove", "x": x, "y": y},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        pointer = {"type": "pointer", "id": "mouse", "actions": moves}
        self._call("POST", "/actions", {"actions": [pointer]})

    def keys(self, selector: str, text: str) -> None:
        """Send keys to the first element of a CSS selector."""
        self._call("POST", f"/element/{self._element(selector)}/value", {"text": text})

    def resize(self, width: int, height: int) -> None:
        """Set the size of the window."""
        self._call("POST", "/window/rect", {"width": width, "height": height})

    def screenshot(self, path: Path, selector: str | None = None) -> None:
        """Write what the window, or the first element of a CSS selector, shows as PNG."""
        element = "" if selector is None else f"/element/{self._element(selector)}"
        path.write_bytes(base64.b64decode(self._call("GET", f"{element}/screenshot")))

    def print_pdf(self, path: Path) -> None:
        """Write the page as it prints on A4."""
        page = {"page": {"width": 21.0, "height": 29.7}, "background": False}
        path.write_bytes(base64.b64decode(self._call("POST", "/print", page)))

    def console(self) -> list[str]:
        """Return the warnings and errors on the console since the last call."""
        entries = self._call("POST", "/se/log", {"type": "browser"})
        return [e["message"] for e in entries if e["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[str]:
        """Return the addresses asked for since the last call, those inside the page left out."""
        entries = self._call("POST", "/se/log", {"type": "performance"})
        messages = [json.loads(e["message"])["message"] for e in entries]
        asked = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        urls = [params["request"]["url"] for params in asked]
        return [url for url in urls if not url.startswith(("data:", "blob:", "chrome"))]

    def close(self) -> None:
        """End the browser."""
        with suppress(URLError, RuntimeError, OSError):
            self._call("DELETE", "")
        self._end()

    def _start(self, browser: str, size: tuple[int, int], flags: tuple[str, ...]) -> None:
        window = f"--window-size={size[0]},{size[1]}"
        arguments = [*FLAGS, *flags, window, f"--user-data-dir={self._profile}"]
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": browser, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "timeouts": {"script": int(1000 * CALL_S)},
        }
        body = {"capabilities": {"alwaysMatch": wanted}}
        session = _ask("POST", f"{self._url}/session", body)
        self._url += f"/session/{session['sessionId']}"

    def _await_driver(self) -> None:
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            with suppress(URLError, OSError):
                if _ask("GET", f"{self._url}/status")["ready"]:
                    return
            time.sleep(0.05)  # ours: short beside the start
        raise RuntimeError(f"chromedriver did not start within {START_S} s")

    def _element(self, selector: str) -> str:
        body = {"using": "css selector", "value": selector}
        return str(self._call("POST", "/element", body)[ELEMENT])

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return _ask(method, self._url + path, body)

    def _end(self) -> None:
        self._driver.terminate()
        self._driver.wait(timeout=START_S)
        shutil.rmtree(self._profile, ignore_errors=True)


def _ask(method: str, url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data=data, method=method, headers={"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=CALL_S) as answer:
            return json.load(answer)["value"]
    except URLError as error:
        if not hasattr(error, "read"):
            raise
        problem = json.load(error)["value"]
        raise RuntimeError(f"{problem['error']}: {problem['message']}") from None


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
