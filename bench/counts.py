"""What a request costs in user instructions (callgrind) and in system calls (strace).

Both are counted twice, with a small and a large number of requests, and the difference is divided, so
that start and end of nginx do not count. One client, one request after the other: the counts are the same
on every machine with the same binaries, whatever else runs on it.
"""

import re
import time

from client import Client
from load import Wrk
from servers import Nginx, zone_for
from variants import requests

SMALL = 200


def instructions(run, variant, resolver, count, headers=10, keep=None):
    def once(n, out):
        tool = ("valgrind", "--tool=callgrind", "--callgrind-out-file=%s" % out)
        serve(run, variant, resolver, tool, n, headers)
        total = re.search(rb"^(?:summary|totals): (\d+)", out.read_bytes(), re.M)
        if not total:
            raise SystemExit("bench: callgrind has counted nothing: %r" % out.read_bytes()[-300:])
        return int(total[1])

    return difference(run, once, count, "callgrind", keep)


def system_calls(run, variant, resolver, count):
    def once(n, out):
        serve(run, variant, resolver, strace(out), n, 10)
        return total_calls(out)

    return difference(run, once, count, "strace", None)


def under_load(run, variant, resolver):
    """System calls of a request among many: one wait for events then serves several."""
    sessions = run.sessions_of(variant)

    def once(load):
        out = run.directory / ("strace-%d" % run.number())
        zone = zone_for(sessions)
        nginx = Nginx(run, variant, resolver=resolver, tool=strace(out), master=False, zone=zone)
        try:
            client = Client(nginx.port)
            client.ask(requests(sessions), max(100, sessions))
            client.close()
            answered = Wrk(run, nginx, sessions, run.size.seconds).result()[0] if load else 0
        finally:
            nginx.stop()
        return total_calls(out), answered

    without, _ = once(load=False)
    calls, answered = once(load=True)
    return (calls - without) / answered


def strace(out):
    # -D: nginx stays our child.
    return ("strace", "-D", "-f", "-c", "-o", str(out))


def total_calls(out):
    """What strace has counted, once it has written it."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        total = re.search(r"^ *100\.00.* total$", out.read_text() if out.exists() else "", re.M)
        if total:
            # % time, seconds, usecs/call, calls, and errors if there are any
            return int(re.sub(r"\d+\.\d+", "", total[0]).split()[1])
        time.sleep(0.05)
    raise SystemExit("bench: strace has counted nothing: %s" % out)


def difference(run, once, count, name, keep):
    out = run.directory / ("%s-%d" % (name, run.number()))
    small = once(SMALL, out)
    out.unlink()
    large = once(SMALL + count, out)
    if keep:
        keep.write_bytes(out.read_bytes())
    out.unlink()
    return (large - small) / count


def serve(run, variant, resolver, tool, count, headers):
    """Starts nginx as one process under the tool, asks and stops it."""
    sessions = run.sessions_of(variant)
    nginx = Nginx(run, variant, resolver=resolver, tool=tool, master=False, zone=zone_for(sessions))
    try:
        client = Client(nginx.port)
        asked = requests(sessions, headers)
        # So that every session is in the cache, where there is one.
        client.ask(asked, max(100, sessions))
        client.ask(asked, count, first=100)
        client.close()
    finally:
        nginx.stop()
