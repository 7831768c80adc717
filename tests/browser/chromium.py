"""Chromium without a window, driven by its DevTools protocol over a pipe."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading

NAMES = ["chromium", "chromium-browser", "google-chrome"]


def find():
    """The browser's path, or None. CHROMIUM names another one."""
    return shutil.which(os.environ.get("CHROMIUM") or "") or next(filter(None, map(shutil.which, NAMES)), None)


class Chromium:
    """One browser with one page."""

    def __init__(self, path, hosts):
        self.profile = tempfile.mkdtemp(prefix="authgear-chromium-")
        to_browser, self.out = os.pipe()
        self.into, from_browser = os.pipe()
        rules = ", ".join(f"MAP {host} 127.0.0.1" for host in hosts)
        options = [
            "--headless=new",
            "--remote-debugging-pipe",
            f"--user-data-dir={self.profile}",
            f"--host-resolver-rules={rules}, MAP * ~NOTFOUND",
            "--no-first-run",
            "--no-proxy-server",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ]
        if os.geteuid() == 0:
            options.append("--no-sandbox")

        def place_pipes():
            # The protocol is read from descriptor 3 and written to 4; copies first, so that neither hits the other.
            copies = os.dup(to_browser), os.dup(from_browser)
            os.dup2(copies[0], 3)
            os.dup2(copies[1], 4)

        self.process = subprocess.Popen(
            [path, *options, "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=place_pipes,
            start_new_session=True,
        )
        os.close(to_browser)
        os.close(from_browser)
        self.id = 0
        self.buffer = b""
        self.events = []
        # A browser that hangs is ended, and the pipe with it.
        self.watchdog = threading.Timer(90, self.kill)
        self.watchdog.start()
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in "Page", "Network", "Runtime":
            self.page(f"{domain}.enable")

    def close(self):
        self.watchdog.cancel()
        self.kill()
        self.process.wait()
        os.close(self.out)
        os.close(self.into)
        shutil.rmtree(self.profile, ignore_errors=True)

    def kill(self):
        """Ends the browser and its children."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def call(self, method, session=None, **params):
        """Calls a method of the protocol; its result."""
        self.id += 1
        message = {"id": self.id, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.id:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def page(self, method, **params):
        return self.call(method, session=self.session, **params)

    def read(self):
        while b"\0" not in self.buffer:
            piece = os.read(self.into, 65536)
            if not piece:
                raise AssertionError("chromium has ended")
            self.buffer += piece
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def wait_for(self, event):
        """Waits for an event that came since the last `visit` or `act`; its parameters."""
        while True:
            for seen in self.events:
                if seen["method"] == event:
                    return seen["params"]
            self.events.append(self.read())

    def visit(self, url):
        """Goes to a URL as from the address bar, and waits until the page that it ends on is loaded."""
        self.events.clear()
        self.page("Page.navigate", url=url)
        self.wait_for("Page.loadEventFired")

    def act(self, script):
        """Runs a script that leads to another page, and waits until that is loaded."""
        self.events.clear()
        self.page("Runtime.evaluate", expression=script, userGesture=True)
        self.wait_for("Page.loadEventFired")

    def evaluate(self, script):
        """Runs a script in the page; its value, awaited."""
        result = self.page("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise AssertionError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")
