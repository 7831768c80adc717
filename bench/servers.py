"""The processes of a run, each pinned to its core: nginx in front, the resolver's double and the app behind."""

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import variants

PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Cores:
    front: int
    back: int
    load: int
    all: tuple

    @staticmethod
    def choose():
        cores = sorted(os.sched_getaffinity(0))
        front = cores[-1]
        back = cores[0]
        load = cores[1] if len(cores) > 2 else back
        return Cores(front, back, load, tuple(cores))


class Process:
    """A child that ends with us, whatever ends us."""

    def __init__(self, argv, cores, log=None, stdout=None, last=signal.SIGTERM):
        parent = os.getpid()

        def prepare():
            libc.prctl(PR_SET_PDEATHSIG, last)
            if os.getppid() != parent:
                os._exit(1)
            os.sched_setaffinity(0, cores)

        self.argv = [str(word) for word in argv]
        self.log = log
        output = open(log, "ab") if log else subprocess.DEVNULL
        self.child = subprocess.Popen(
            self.argv,
            stdin=subprocess.DEVNULL,
            stdout=stdout or output,
            stderr=output,
            preexec_fn=prepare,
            start_new_session=True,
        )
        if log:
            output.close()

    @property
    def pid(self):
        return self.child.pid

    def fail(self, text):
        log = Path(self.log).read_text(errors="replace")[-2000:] if self.log else ""
        raise SystemExit("bench: %s: %s\n%s" % (self.argv[0], text, log))

    def stop(self, timeout=20):
        for sig in (signal.SIGTERM, signal.SIGKILL):
            if self.child.poll() is not None:
                break
            self.child.send_signal(sig)
            try:
                self.child.wait(timeout)
            except subprocess.TimeoutExpired:
                continue
        return self.child.wait()


class Double(Process):
    """The resolver's double or the app: it takes free ports and says which."""

    def __init__(self, argv, cores, log, listeners):
        super().__init__(argv, cores, log, stdout=subprocess.PIPE)
        self.ports = []
        for _ in range(listeners):
            line = self.child.stdout.readline().decode()
            port = re.search(r":(\d+)\s*$", line)
            if not port:
                self.stop()
                self.fail("says %r instead of its port" % line)
            self.ports.append(int(port[1]))


class Resolver(Double):
    def __init__(self, run, sessions, delay=0):
        file = run.sessions_file(sessions)
        argv = [run.doubles / "authgear-resolver-double", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]
        argv += ["--sessions", file, "--record", "1", "--delay", delay]
        super().__init__(argv, {run.cores.back}, run.directory / "resolver.log", 2)
        self.port, self.control = self.ports

    def requests(self):
        """How many it has answered so far."""
        with urllib.request.urlopen("http://127.0.0.1:%d/stats" % self.control, timeout=60) as answer:
            return json.load(answer)["requests"]


class App(Double):
    def __init__(self, run):
        argv = [run.doubles / "echo-app", "--listen", "127.0.0.1:0"]
        super().__init__(argv, {run.cores.back}, run.directory / "app.log", 1)
        self.port = self.ports[0]


class Nginx(Process):
    """An nginx with a variant's configuration, under `tool` if there is one."""

    def __init__(self, run, variant, *, resolver, tool=(), cores=None, workers=1, master=True, zone="10m", more=""):
        self.prefix = run.directory / ("nginx-%d" % run.number())
        (self.prefix / "logs").mkdir(parents=True)
        self.port = free_port()
        text = variants.conf(
            variant,
            port=self.port,
            app=run.app.port,
            resolver=resolver.port,
            prefix=self.prefix,
            module=run.module,
            workers=workers,
            master=master,
            zone=zone,
            user="root" if os.geteuid() == 0 else "",
            more=more,
        )
        file = self.prefix / "nginx.conf"
        file.write_text(text)
        argv = list(tool) + [run.nginx, "-p", self.prefix, "-c", file, "-e", "logs/error.log"]
        if not run.takes_error_log:
            argv = argv[:-2]
        # As a single process it looks at what a signal wanted only after the next event.
        last = signal.SIGTERM if master else signal.SIGKILL
        super().__init__(argv, cores or {run.cores.front}, self.prefix / "logs/output.log", last=last)
        self.master = master
        self.variant = variant
        self.expected_workers = workers
        try:
            self.await_start()
        except BaseException:
            self.stop()
            raise

    def await_start(self):
        end = time.monotonic() + 120
        while time.monotonic() < end:
            if self.child.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
                if not self.master or len(self.workers()) == self.expected_workers:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        log = self.prefix / "logs/error.log"
        self.fail("does not start: %s" % (log.read_text(errors="replace")[-2000:] if log.exists() else ""))

    def stop(self, timeout=20):
        self.child.send_signal(signal.SIGTERM)
        end = time.monotonic() + timeout
        while self.child.poll() is None and time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                pass
            time.sleep(0.05)
        status = super().stop(timeout)
        remove(self.prefix / "cache")
        return status

    def workers(self):
        """The worker processes' ids."""
        found = []
        for pid in children(self.pid):
            try:
                title = Path("/proc/%d/cmdline" % pid).read_bytes()
            except OSError:
                continue
            if b"worker process" in title:
                found.append(pid)
        return found

    def cpu(self):
        """Nanoseconds that the workers have run so far."""
        return sum(int(Path("/proc/%d/schedstat" % pid).read_text().split()[0]) for pid in self.workers())

    def memory(self):
        """KiB of memory of each worker, pages shared with others in proportion (PSS)."""
        workers = self.workers()
        total = 0
        for pid in workers:
            rollup = Path("/proc/%d/smaps_rollup" % pid).read_text()
            total += int(re.search(r"^Pss:\s+(\d+)", rollup, re.M)[1])
        return total / len(workers)

    def private_memory(self):
        """KiB of memory that belong to a worker alone."""
        total = 0
        for pid in self.workers():
            rollup = Path("/proc/%d/smaps_rollup" % pid).read_text()
            total += sum(int(n) for n in re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+)", rollup, re.M))
        return total / len(self.workers())

    def errors(self):
        log = self.prefix / "logs/error.log"
        return log.read_text(errors="replace") if log.exists() else ""


def children(pid):
    try:
        return [int(n) for n in Path("/proc/%d/task/%d/children" % (pid, pid)).read_text().split()]
    except OSError:
        return []


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    # Sessions of E and HE.
    many: int
    # Requests for a count, and how often it is repeated.
    counted: int
    count_rounds: int
    # Loads by wrk, in seconds.
    rounds: int
    seconds: int
    # Requests at a constant rate, a second.
    rate: int
    latency_rounds: int
    latency_seconds: int
    herd_rounds: int
    growth_rounds: int
    session_counts: tuple
    waiting_counts: tuple
    saturation_rounds: int
    # Seconds to wait before a measurement for others to finish what they do.
    patience: int


FULL = Size(
    many=10_000,
    counted=2000,
    count_rounds=2,
    rounds=7,
    seconds=4,
    rate=2000,
    latency_rounds=3,
    latency_seconds=5,
    herd_rounds=7,
    growth_rounds=3,
    session_counts=(1, 100, 10_000, 100_000),
    waiting_counts=(100, 1000),
    saturation_rounds=3,
    patience=60,
)
QUICK = Size(
    many=1000,
    counted=1000,
    count_rounds=1,
    rounds=3,
    seconds=2,
    rate=2000,
    latency_rounds=1,
    latency_seconds=2,
    herd_rounds=3,
    growth_rounds=2,
    session_counts=(1, 10_000),
    waiting_counts=(100, 500),
    saturation_rounds=2,
    patience=0,
)


class Run:
    """One run of the benchmark: where things are, and all that must be stopped at its end."""

    def __init__(self, args):
        self.nginx = Path(args.nginx).resolve()
        self.module = Path(args.module).resolve()
        self.doubles = Path(args.doubles).resolve()
        self.size = QUICK if args.quick else FULL
        if args.sessions:
            counts = [n for n in self.size.session_counts if n < args.sessions] + [args.sessions]
            self.size = replace(self.size, session_counts=counts)
        self.many = self.size.many
        self.directory = Path(args.directory).resolve() / ("run-%d" % os.getpid())
        self.cores = Cores.choose()
        self.stack = ExitStack()
        self.count = 0
        version = subprocess.run([self.nginx, "-v"], capture_output=True, text=True, check=True).stderr
        self.version = re.search(r"nginx/([\d.]+)", version)[1]
        numbers = tuple(int(n) for n in self.version.split("."))
        # nginx -e, from 1.19.5: without it the log of the time before the configuration is read goes elsewhere.
        self.takes_error_log = numbers >= (1, 19, 5)

    def __enter__(self):
        self.stack.callback(remove, self.directory)
        self.directory.mkdir(parents=True)
        os.sched_setaffinity(0, {self.cores.load})
        self.app = self.keep(App(self))
        return self

    def __exit__(self, *_):
        self.stack.close()

    def keep_profile(self, variant):
        """Where callgrind's file of a variant stays, for callgrind_annotate."""
        directory = self.directory.parent / "callgrind"
        directory.mkdir(exist_ok=True)
        return directory / ("%s-%s.out" % (self.version, variant.name))

    def keep(self, process):
        """Stops it at the end of the run."""
        self.stack.callback(process.stop)
        return process

    def number(self):
        self.count += 1
        return self.count

    def sessions_of(self, variant):
        return {"no": 0, "one": 1, "many": self.many}[variant.sessions]

    def sessions_file(self, count):
        """The resolver's sessions: one user with so many."""
        file = self.directory / ("sessions-%d.json" % count)
        if not file.exists():
            facts = dict(variants.IDENTITY)
            session = {
                "kind": "session",
                "user": "user",
                "amr": facts["x-authgear-session-amr"].split(),
                "acr": facts["x-authgear-session-acr"],
                "authenticated_at": "@",
            }
            around = json.dumps(session).replace('"@"', facts["x-authgear-session-authenticated-at"])
            user = {"id": variants.USER_ID, "roles": variants.ROLES}
            with open(file, "w") as out:
                out.write('{"users": {"user": %s}, "sessions": [' % json.dumps(user))
                for n in range(max(count, 1)):
                    out.write("%s\n%s" % ("," if n else "", around[:-1] + ', "value": "%s"}' % variants.token(n)))
                out.write("]}")
        return file


def remove(directory):
    shutil.rmtree(directory, ignore_errors=True)


def zone_for(sessions):
    """A zone that holds so many sessions."""
    return "%dk" % max(10 * 1024, 2 * sessions)
