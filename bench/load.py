"""Load from wrk, and what nginx spends on it."""

import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from servers import Process
from variants import request_parts, token

HERE = Path(__file__).parent
CONNECTIONS = 32


@dataclass
class Spent:
    """What nginx's workers spent while wrk asked."""

    requests: int
    seconds: float
    # Microseconds of a core for each request.
    cpu: float
    # Part of the time that the workers ran, of one core.
    busy: float

    @property
    def rate(self):
        return self.requests / self.seconds


def requests_file(run, sessions):
    file = run.directory / ("requests-%d" % sessions)
    if not file.exists():
        parts = [part.replace("\r", "\\r").replace("\n", "\\n") for part in request_parts()]
        file.write_text("\n".join(parts + [token(n) for n in range(sessions)]) + "\n")
    return file


class Wrk(Process):
    def __init__(self, run, nginx, sessions, seconds, *order, cores=None, connections=CONNECTIONS):
        argv = ["wrk", "-t", 1, "-c", connections, "-d", "%ds" % seconds, "--timeout", "60s"]
        argv += ["-s", HERE / "load.lua", "http://127.0.0.1:%d/" % nginx.port]
        argv += ["--", requests_file(run, sessions), *order]
        super().__init__(argv, cores or {run.cores.load}, stdout=subprocess.PIPE)

    def result(self):
        """How many requests were answered, and in how many seconds."""
        try:
            output = self.child.communicate()[0].decode()
        finally:
            self.stop()
        found = re.search(r"^RESULT (\d+) (\d+) (\d+) (\d+)$", output, re.M)
        if not found:
            raise SystemExit("bench: wrk says %s" % output)
        requests, duration, errors, statuses = (int(n) for n in found.groups())
        if errors or statuses:
            raise SystemExit("bench: wrk met %d errors and %d answers other than 200" % (errors, statuses))
        return requests, duration / 1e6


def wrk(run, nginx, sessions, seconds, cores=None):
    """One load, and what nginx spent on it."""
    cpu, start = nginx.cpu(), time.monotonic()
    requests, duration = Wrk(run, nginx, sessions, seconds, cores=cores).result()
    cpu, elapsed = nginx.cpu() - cpu, time.monotonic() - start
    return Spent(requests, duration, cpu / 1e3 / requests, cpu / 1e9 / elapsed)


def fill(run, nginx, resolver, sessions, seconds=1800):
    """Asks for so many sessions, each at least once: until the resolver was asked so often."""
    before = resolver.requests()
    load = Wrk(run, nginx, sessions, seconds, "in-order")
    try:
        end = time.monotonic() + seconds
        while resolver.requests() - before < sessions:
            if load.child.poll() is not None or time.monotonic() > end:
                raise SystemExit("bench: the cache was not filled")
            time.sleep(0.2)
    finally:
        load.stop()
