"""The report, in Markdown."""

from statistics import median

from measure import HERD_SIZE, PERCENTILES, RESOLVER_DELAY_MS
from variants import BY_NAME


def spread(numbers, form):
    """Median, and the smallest and largest if there is a difference to see."""
    low, middle, high = (form % n for n in (min(numbers), median(numbers), max(numbers)))
    return middle if low == high else "%s (%s–%s)" % (middle, low, high)


def ratios(mine, others):
    """Round by round, so that what disturbs both does not count."""
    return [a / b for a, b in zip(mine, others)]


def table(columns, rows):
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * 1 + " ---: |" * (len(columns) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def markdown(version, found):
    kind = "A quick run: few rounds, wide spreads." if found["quick"] else ""
    parts = ["# nginx %s\n" % version]
    parts.append(
        "By `make bench NGINX_VERSION=%s%s` on %s; [README](../README.md) says what is compared and how to read it. %s\n"
        % (version, " QUICK=1" if found["quick"] else "", found["date"], kind)
    )
    parts.append("\n".join("- %s: %s" % fact for fact in found["facts"]))
    before, after = found["load"]
    parts.append("- load average at the start %.1f, at the end %.1f; %.0f minutes\n" % (before, after, found["minutes"]))
    for name, write in SECTIONS:
        if name in found:
            parts.append(write(found))
    return "\n".join(part.rstrip(" ") for part in parts)


def title(name):
    return "**%s** %s" % (name, BY_NAME[name].title)


def counts(found):
    rows, counted = [], found["counts"]

    def over(field, name, base, form, part=None):
        if base not in counted:
            return "-"
        difference = median(counted[name][field]) - median(counted[base][field])
        if part:
            difference -= median(counted[name][part])
        text = form % difference
        return "0" if float(text) == 0 else text

    for name, row in counted.items():
        rows.append([
            title(name),
            spread(row["instructions"], "%.0f"),
            over("instructions", name, "A", "%+.0f"),
            over("instructions", name, "A8", "%+.0f"),
            over("instructions", name, "A8", "%+.0f", "hashing"),
            spread(row["system_calls"], "%.2f"),
            over("system_calls", name, "A", "%+.2f"),
            spread(row["under_load"], "%.2f"),
            over("under_load", name, "A", "%+.2f"),
        ])
    head = ["", "user instructions", "over A", "over A8", "over A8 but for SHA-256"]
    head += ["system calls", "over A", "under load", "over A"]
    return "## What a request costs\n\n" + table(head, rows)


def speed(found):
    rows, speeds = [], found["speed"]

    def ratio(name, base):
        if base not in speeds:
            return "-"
        return spread(ratios(speeds[name]["cpu"], speeds[base]["cpu"]), "%.2f")

    for name, row in speeds.items():
        rows.append([
            title(name),
            spread(row["cpu"], "%.1f"),
            ratio(name, "A"),
            ratio(name, "B"),
            spread(row["rate"], "%.0f"),
            "%.0f %%" % (100 * median(row["busy"])),
            "%.1f" % (row["memory"] / 1024),
        ])
    head = ["", "CPU, µs", "over A", "over B", "requests/s", "of nginx's core", "worker, MiB"]
    text = "## CPU, rate and memory\n\n" + table(head, rows)
    rows = []
    for name, row in speeds.items():
        columns = list(zip(*row["latency"]))
        rows.append([title(name)] + [spread(column, "%.0f") for column in columns])
    head = [""] + ["%g %%, µs" % p for p in PERCENTILES]
    rate = found["size"]["rate"]
    return text + "\n## Time to the answer at %d requests/s\n\n%s" % (rate, table(head, rows))


def herd(found):
    rows = [
        [
            "%s, %d worker%s" % (row["title"], row["workers"], "s" if row["workers"] > 1 else ""),
            spread(row["calls"], "%d"),
            spread(row["medians"], "%.0f"),
            spread(row["longest"], "%.0f"),
        ]
        for row in found["herd"]
    ]
    text = "## The herd: %d clients at once with one new session, a resolver that takes %d ms\n\n"
    head = ["", "resolver calls", "median client, ms", "last client, ms"]
    return text % (HERD_SIZE, RESOLVER_DELAY_MS) + table(head, rows)


def memory(found):
    row = found["memory"]
    rows = [["entry in our zone", "%.0f bytes" % row["entry"]], ["file of proxy_cache, and 128 bytes of its zone", "%.0f bytes" % row["file"]]]
    return "## A cached session, of %d\n\n" % row["sessions"] + table(["", "each"], rows)


def sessions(found):
    rows = [
        [title(r["variant"]), str(r["sessions"]), spread(r["cpu"], "%.1f"), str(r["misses"])] for r in found["sessions"]
    ]
    return "## Growth: sessions\n\n" + table(["", "sessions", "CPU, µs", "not in the cache"], rows)


def workers(found):
    rows = [
        [title(r["variant"]), str(r["workers"]), spread(r["cpu"], "%.1f"), spread(r["rate"], "%.0f")]
        for r in found["workers"]
    ]
    text = "## Growth: workers, on all cores, which load and backends use as well\n\n"
    return text + table(["", "workers", "CPU, µs", "requests/s"], rows)


def headers(found):
    names = [name for name in found["headers"][0] if name != "headers"]
    rows = [[str(row["headers"])] + ["%.0f" % row[name] for name in names] for row in found["headers"]]
    return "## Growth: request headers, user instructions\n\n" + table(["headers"] + names, rows)


def saturated(found):
    rows = [
        [
            title(r["variant"]),
            str(r["waiting"]),
            "%.0f" % r["idle"],
            "%.0f" % r["during"][0],
            "%.0f" % r["during"][-1],
            "%.1f" % ((max(r["during"]) - r["idle"]) / r["waiting"]),
            "%.0f" % r["after"],
        ]
        for r in found["saturated"]
    ]
    rounds = found["size"]["saturation_rounds"]
    head = ["KiB of the worker's own", "waiting", "idle", "first", "round %d" % rounds, "for each", "afterwards"]
    return "## A resolver that takes a second\n\n" + table(head, rows)


SECTIONS = [
    ("counts", counts),
    ("speed", speed),
    ("herd", herd),
    ("memory", memory),
    ("sessions", sessions),
    ("workers", workers),
    ("headers", headers),
    ("saturated", saturated),
]
