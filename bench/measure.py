"""The measurements, each of which returns plain numbers."""

import json
import statistics
import time
import urllib.request
from contextlib import ExitStack

import client
import counts
import machine
from load import fill, wrk
from servers import Nginx, Resolver, zone_for
from variants import BY_NAME, HERD, requests

RESOLVER_DELAY_MS = 20
HERD_SIZE = 200


def each_count(run, chosen, resolver, say):
    """User instructions and system calls of a request."""
    found = {}
    for variant in chosen:
        say("counting %s" % variant.name)
        row = found[variant.name] = {"instructions": [], "hashing": [], "system_calls": [], "under_load": []}
        for _ in range(run.size.count_rounds):
            keep = run.keep_profile(variant)
            total, hashing = counts.instructions(run, variant, resolver, run.size.counted, keep=keep)
            row["instructions"].append(total)
            row["hashing"].append(hashing)
            row["system_calls"].append(counts.system_calls(run, variant, resolver, run.size.counted))
            row["under_load"].append(counts.under_load(run, variant, resolver))
    return found


def each_speed(run, chosen, resolver, say):
    """CPU of a request, requests a second, times to the answer at a fixed rate, and memory of a worker."""
    found = {v.name: {"cpu": [], "rate": [], "busy": [], "latency": []} for v in chosen}
    with ExitStack() as stack:
        fronts = []
        for variant in chosen:
            sessions = run.sessions_of(variant)
            nginx = Nginx(run, variant, resolver=resolver, zone=zone_for(sessions))
            stack.callback(nginx.stop)
            if sessions:
                warm_up(run, nginx, sessions)
            fronts.append((variant, nginx, sessions))
        for number in range(run.size.rounds):
            say("round %d of %d: load" % (number + 1, run.size.rounds))
            # Each round in another order, so that none always follows the same one.
            for variant, nginx, sessions in rotated(fronts, number):
                machine.await_quiet(run.size.patience)
                spent = wrk(run, nginx, sessions, run.size.seconds)
                found[variant.name]["cpu"].append(spent.cpu)
                found[variant.name]["rate"].append(spent.rate)
                found[variant.name]["busy"].append(spent.busy)
        for number in range(run.size.latency_rounds):
            say("round %d of %d: a fixed rate" % (number + 1, run.size.latency_rounds))
            for variant, nginx, sessions in rotated(fronts, number):
                machine.await_quiet(run.size.patience)
                times = client.at_rate(nginx.port, requests(sessions), run.size.rate, run.size.latency_seconds)
                found[variant.name]["latency"].append([percentile(times, p) * 1e6 for p in PERCENTILES])
        for variant, nginx, _ in fronts:
            found[variant.name]["memory"] = nginx.memory()
            errors = [line for line in nginx.errors().splitlines() if "[warn]" not in line and "[notice]" not in line]
            if errors:
                raise SystemExit("bench: %s: %s" % (variant.name, errors[0]))
    return found


PERCENTILES = (50, 90, 99, 99.9)


def percentile(ordered, p):
    return ordered[min(len(ordered) - 1, int(len(ordered) * p / 100))]


def rotated(items, by):
    by %= len(items)
    items = items[by:] + items[:by]
    return items


def warm_up(run, nginx, sessions):
    one = client.Client(nginx.port)
    one.ask(requests(sessions), max(sessions, 100))
    one.close()


def herd(run, say):
    """Many ask for one new session at once, of a resolver that takes its time."""
    found = []
    resolver = Resolver(run, run.size.herd_rounds * 8 + 8, delay=RESOLVER_DELAY_MS)
    number = 0
    try:
        for variant in HERD:
            for workers in (1, 4):
                say("herd: %s, %d workers" % (variant.name, workers))
                cores = set(run.cores.all) if workers > 1 else None
                nginx = Nginx(run, variant, resolver=resolver, workers=workers, cores=cores)
                calls, medians, longest = [], [], []
                try:
                    # So that there are connections to the app.
                    client.at_once(nginx.port, requests(0)[0], HERD_SIZE)
                    for _ in range(run.size.herd_rounds):
                        machine.await_quiet(run.size.patience)
                        before = resolver.requests()
                        times = client.at_once(nginx.port, requests(1, first=number)[0], HERD_SIZE)
                        number += 1
                        calls.append(resolver.requests() - before)
                        medians.append(statistics.median(times) * 1e3)
                        longest.append(times[-1] * 1e3)
                finally:
                    nginx.stop()
                row = {"variant": variant.name, "title": variant.title, "workers": workers}
                found.append(dict(row, calls=calls, medians=medians, longest=longest))
    finally:
        resolver.stop()
    return found


def memory_of_sessions(run, resolver, say):
    """What a cached session takes: of our zone, and of proxy_cache's files."""
    say("memory of %d cached sessions" % run.many)
    zone = zone_for(run.many)
    ours = Nginx(run, BY_NAME["HE"], resolver=resolver, zone=zone, more="location = /status { authgear_status; }")
    try:
        empty = used_bytes(ours)
        fill(run, ours, resolver, run.many)
        entry = (used_bytes(ours) - empty) / run.many
    finally:
        ours.stop()
    stock = Nginx(run, BY_NAME["E"], resolver=resolver, zone=zone)
    try:
        fill(run, stock, resolver, run.many)
        files = [file.stat() for file in (stock.prefix / "cache").rglob("*") if file.is_file()]
        file_bytes = sum(file.st_blocks * 512 for file in files) / len(files)
    finally:
        stock.stop()
    return {"sessions": run.many, "entry": entry, "file": file_bytes}


def used_bytes(nginx):
    with urllib.request.urlopen("http://127.0.0.1:%d/status" % nginx.port, timeout=60) as answer:
        return json.load(answer)["zones"]["auth"]["bytes_used"]


def growth_by_sessions(run, say):
    """CPU of a request when so many sessions are in the cache."""
    found = []
    with ExitStack() as stack:
        fronts = []
        for sessions in run.size.session_counts:
            for name in ("E", "HE"):
                # A file for each: 100,000 are enough to see.
                if name == "E" and sessions > 100_000:
                    continue
                say("growth: filling %s with %d sessions" % (name, sessions))
                resolver = Resolver(run, sessions)
                stack.callback(resolver.stop)
                nginx = Nginx(run, BY_NAME[name], resolver=resolver, zone=zone_for(sessions))
                stack.callback(nginx.stop)
                fill(run, nginx, resolver, sessions)
                row = {"variant": name, "sessions": sessions, "cpu": [], "misses": 0}
                found.append(row)
                fronts.append((row, nginx, resolver))
        for number in range(run.size.growth_rounds):
            say("growth by sessions: round %d of %d" % (number + 1, run.size.growth_rounds))
            for row, nginx, resolver in rotated(fronts, number):
                machine.await_quiet(run.size.patience)
                before = resolver.requests()
                row["cpu"].append(wrk(run, nginx, row["sessions"], run.size.seconds).cpu)
                row["misses"] += resolver.requests() - before
    return found


def growth_by_workers(run, resolver, say):
    """CPU of a request and requests a second with so many workers, on all cores."""
    found = []
    cores = set(run.cores.all)
    with ExitStack() as stack:
        fronts = []
        for workers in (1, 2, 3, 4):
            for name in ("A", "HE"):
                variant = BY_NAME[name]
                sessions = run.sessions_of(variant)
                nginx = Nginx(
                    run, variant, resolver=resolver, workers=workers, cores=cores, zone=zone_for(sessions)
                )
                stack.callback(nginx.stop)
                warm_up(run, nginx, sessions)
                row = {"variant": name, "workers": workers, "cpu": [], "rate": []}
                found.append(row)
                fronts.append((row, nginx, sessions))
        for number in range(run.size.growth_rounds):
            say("growth by workers: round %d of %d" % (number + 1, run.size.growth_rounds))
            for row, nginx, sessions in rotated(fronts, number):
                machine.await_quiet(run.size.patience)
                spent = wrk(run, nginx, sessions, run.size.seconds, cores)
                row["cpu"].append(spent.cpu)
                row["rate"].append(spent.rate)
    return found


def growth_by_headers(run, resolver, say):
    """User instructions of a request with so many headers."""
    found = []
    for headers in (10, 25, 50, 100):
        row = {"headers": headers}
        for name in ("A", "A8", "C", "D", "H", "HC", "HN"):
            say("growth: %s with %d headers" % (name, headers))
            row[name] = counts.instructions(run, BY_NAME[name], resolver, run.size.counted // 2, headers=headers)[0]
        found.append(row)
    return found


def saturated(run, say):
    """Memory of a worker while so many wait for a resolver that takes a second, again and again."""
    found = []
    resolver = Resolver(run, 100, delay=1000)
    session = 0
    try:
        for name in ("C", "H", "HC"):
            nginx = Nginx(run, BY_NAME[name], resolver=resolver)
            try:
                idle = nginx.private_memory()
                for waiting in run.size.waiting_counts:
                    say("saturated resolver: %s, %d waiting" % (name, waiting))
                    during = []
                    for _ in range(run.size.saturation_rounds):
                        session += 1
                        request = requests(1, first=session % 100)[0]
                        sample = lambda: (time.sleep(0.4), during.append(nginx.private_memory()))
                        client.at_once(nginx.port, request, waiting, sample)
                    row = {"variant": name, "waiting": waiting, "idle": idle, "during": during}
                    found.append(dict(row, after=nginx.private_memory()))
            finally:
                nginx.stop()
    finally:
        resolver.stop()
    return found
