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
# What system calls a request makes does not depend on how many sessions there are.
MOST_SESSIONS = 1000


def instructions(run, variant, resolver, count, headers=10, keep=None):
    """User instructions of a request, and how many of them are SHA-256's."""

    def once(n):
        out = run.directory / ("callgrind-%d" % run.number())
        tool = ("valgrind", "--tool=callgrind", "--callgrind-out-file=%s" % out)
        serve(run, variant, resolver, tool, n, run.sessions_of(variant), headers)
        profile = out.read_text(errors="replace")
        out.unlink()
        total = re.search(r"^(?:summary|totals): (\d+)", profile, re.M)
        if not total:
            raise SystemExit("bench: callgrind has counted nothing: %s" % profile[-300:])
        return int(total[1]), own_cost(profile, "sha2::sha256::compress"), profile

    small, large = once(SMALL), once(SMALL + count)
    if keep:
        keep.write_text(large[2])
    return [(large[i] - small[i]) / count for i in (0, 1)]


def own_cost(profile, function):
    """What the functions of this name cost themselves, without those that they call."""
    names, cost, here, called = {}, 0, False, False
    for line in profile.split("\n"):
        name = re.match(r"(c?fn)=\((\d+)\)(?: (.*))?", line)
        if name:
            if name[3]:
                names[name[2]] = name[3]
            if name[1] == "fn":
                here = names[name[2]].startswith(function)
        elif line.startswith("calls="):
            # The next line is the cost of the called.
            called = True
        elif line[:1] in "0123456789+-*" and line:
            if here and not called:
                cost += int(line.split()[1])
            called = False
    return cost


def system_calls(run, variant, resolver, count):
    sessions = min(run.sessions_of(variant), MOST_SESSIONS)

    def once(n):
        out = run.directory / ("strace-%d" % run.number())
        serve(run, variant, resolver, strace(out), n, sessions)
        return total_calls(out)

    small, large = once(SMALL), once(SMALL + count)
    return (large - small) / count


def under_load(run, variant, resolver):
    """System calls of a request among many: one wait for events then serves several."""
    sessions = min(run.sessions_of(variant), MOST_SESSIONS)

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


def serve(run, variant, resolver, tool, count, sessions, headers=10):
    """Starts nginx as one process under the tool, asks and stops it."""
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
