"""nginx with the module, the resolver double and other servers on loopback, for the scripts in browser/ and grpc/."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Servers:
    """Processes in a directory of their own, all gone at the end of a `with`."""

    def __init__(self, nginx, module, double):
        self.nginx, self.module, self.double = (str(pathlib.Path(p).resolve()) for p in (nginx, module, double))
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="authgear-servers-"))
        self.processes = []

    def __enter__(self):
        (self.directory / "logs").mkdir()
        return self

    def __exit__(self, failure, *_):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
        if failure:
            print((self.directory / "logs/error.log").read_text(errors="replace")[-4000:])
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self, name, command, port):
        """Starts a process and waits until it listens."""
        with open(self.directory / f"logs/{name}.log", "wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.processes.append(process)
        wait_until(f"{name} listens", lambda: answers(port), process)

    def start_double(self, sessions, *options):
        """Starts the resolver double; its port."""
        port = free_port()
        listen = f"127.0.0.1:{port}"
        self.start("resolver", [self.double, "--listen", listen, "--sessions", str(sessions), *options], port)
        return port

    def start_nginx(self, conf, port):
        """Starts nginx with this configuration, a text, in which `load_module` is made to find the module."""
        conf = conf.replace("modules/ngx_http_authgear_module.so", self.module)
        path = self.directory / "nginx.conf"
        path.write_text(conf)
        # Root's workers would be nobody's, who can't write to this directory.
        user = "user root;" if os.geteuid() == 0 else ""
        command = [self.nginx, "-p", str(self.directory), "-c", str(path), "-g", f"daemon off; {user}"]
        self.start("nginx", command, port)

    def access_log(self):
        return (self.directory / "logs/access.log").read_text(errors="replace")

    def wait_for_access(self, text):
        wait_until(f"{text!r} in the access log", lambda: text in self.access_log())


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def wait_until(what, condition, process=None, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        if process and process.poll() is not None:
            raise AssertionError(f"not before it ended: {what}")
        if time.monotonic() > end:
            raise AssertionError(f"not in time: {what}")
        time.sleep(0.02)


class Checks:
    """Counts what holds and what does not."""

    def __init__(self):
        self.passed = self.failed = 0

    def equal(self, what, found, expected):
        if found == expected:
            self.passed += 1
            print(f"ok      {what}")
        else:
            self.failed += 1
            print(f"FAILED  {what}\n        found    {found!r}\n        expected {expected!r}")

    def finish(self):
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0
