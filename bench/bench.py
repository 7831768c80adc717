"""Compares ways to authenticate requests in nginx. See README.md."""

import argparse
import json
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

import chart
import machine
import measure
import report
from servers import Resolver, Run
from variants import BY_NAME, VARIANTS, conf

PARTS = ("counts", "speed", "herd", "memory", "growth", "saturated")
TOOLS = {"wrk": "wrk", "valgrind": "valgrind", "strace": "strace"}


def main():
    args = arguments()
    if args.show:
        print(shown(BY_NAME[args.show]), end="")
        return
    missing = [package for tool, package in TOOLS.items() if not shutil.which(tool)]
    if missing:
        sys.exit("bench: missing: apt-get install %s" % " ".join(missing))
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, lambda *_: sys.exit(130))
    # A thousand clients have as many sockets, and nginx twice that.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    variants = [BY_NAME[name] for name in args.variants.split(",")] if args.variants else VARIANTS
    parts = args.parts.split(",") if args.parts else PARTS

    start = time.monotonic()
    with Run(args) as run:
        found = {
            "facts": machine.facts(run),
            "date": time.strftime("%Y-%m-%d"),
            "quick": args.quick,
            "size": vars(run.size),
            "load": [machine.load()],
        }
        resolver = run.keep(Resolver(run, run.many))
        for part in parts:
            found.update(measured(part, run, variants, resolver))
        found["load"].append(machine.load())
        found["minutes"] = (time.monotonic() - start) / 60
        version = run.version

    raw = Path(args.directory) / (version + ".json")
    raw.write_text(json.dumps(found, indent=1) + "\n")
    results = Path(args.directory if args.quick or args.variants or args.parts else args.results)
    results.mkdir(parents=True, exist_ok=True)
    if "speed" in found:
        (results / (version + ".svg")).write_text(chart.draw(version, found))
    text = report.markdown(version, found)
    (results / (version + ".md")).write_text(text)
    print(text)
    print("bench: written to %s" % (results / (version + ".md")), file=sys.stderr)


def measured(part, run, variants, resolver):
    if part == "counts":
        return {"counts": measure.each_count(run, variants, resolver, say)}
    if part == "speed":
        return {"speed": measure.each_speed(run, variants, resolver, say)}
    if part == "herd":
        return {"herd": measure.herd(run, say)}
    if part == "memory":
        return {"memory": measure.memory_of_sessions(run, resolver, say)}
    if part == "growth":
        return {
            "sessions": measure.growth_by_sessions(run, say),
            "workers": measure.growth_by_workers(run, resolver, say),
            "headers": measure.growth_by_headers(run, resolver, say),
        }
    if part == "saturated":
        return {"saturated": measure.saturated(run, say)}
    sys.exit("bench: no part %s, but %s" % (part, ", ".join(PARTS)))


def shown(variant):
    """The nginx.conf of a variant, with names for what each run chooses."""
    places = {"port": 8080, "app": 8000, "resolver": 3001, "prefix": "PREFIX"}
    return conf(variant, module="modules/ngx_http_authgear_module.so", **places)


def say(text):
    print("bench: %s" % text, file=sys.stderr, flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nginx", help="built without --with-debug")
    parser.add_argument("--module", help="built for it")
    parser.add_argument("--doubles", help="directory of authgear-resolver-double and echo-app")
    parser.add_argument("--directory", default="build/bench", help="for what a run needs and leaves")
    parser.add_argument("--results", default="bench/results", help="for the report and chart of a full run")
    parser.add_argument("--quick", action="store_true", help="some minutes, fewer rounds; the report goes to DIRECTORY")
    parser.add_argument("--sessions", type=int, help="how far to grow: 100000, quick 10000")
    parser.add_argument("--show", metavar="VARIANT", help="only print its nginx.conf")
    parser.add_argument("--variants", help="only these, separated by commas")
    parser.add_argument("--parts", help="only these of " + ",".join(PARTS))
    args = parser.parse_args()
    if not args.show and not (args.nginx and args.module and args.doubles):
        parser.error("--nginx, --module and --doubles are needed; make bench gives them")
    return args


if __name__ == "__main__":
    main()
