"""What a result depends on besides the code: the machine and the versions."""

import os
import platform
import re
import subprocess
import time
from pathlib import Path


def output(*argv):
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    except OSError:
        return ""
    return done.stdout + done.stderr


def first_line(*argv):
    return output(*argv).strip().split("\n")[0]


def facts(run):
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    model = re.findall(r"^(?:model name|cpu family|model|stepping)\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    memory = int(re.search(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(), re.M)[1])
    system = re.search(r'^PRETTY_NAME="(.*)"$', Path("/etc/os-release").read_text(), re.M)
    name = cpu[1] if cpu else platform.machine()
    if len(model) >= 4:
        name += " (family %s, model %s, stepping %s)" % (model[0], model[1], model[3])
    virtual = " hypervisor" in Path("/proc/cpuinfo").read_text()
    cores = run.cores
    back = "resolver and app to core %d, load to core %d" % (cores.back, cores.load)
    compiler = re.search(r"^built by (.*)$", output(run.nginx, "-V"), re.M)
    return [
        ("processor", name + (", virtual machine" if virtual else "")),
        ("cores", "%d; nginx pinned to core %d, %s" % (os.cpu_count(), cores.front, back)),
        ("memory", "%d GiB" % round(memory / 1024 / 1024)),
        ("system", "%s, Linux %s" % (system[1] if system else "", platform.release())),
        ("nginx", "%s, built by %s, without --with-debug" % (run.version, compiler[1] if compiler else "?")),
        ("module", "%s, %s" % (commit(), first_line("rustc", "--version"))),
        ("tools", ", ".join((first_line("wrk", "-v").split(" [")[0], first_line("valgrind", "--version"),
                             first_line("strace", "--version")))),
        ("sha extensions", "yes" if " sha_ni" in Path("/proc/cpuinfo").read_text() else "no"),
    ]


def commit():
    here = str(Path(__file__).parent)
    name = output("git", "-C", here, "rev-parse", "--short", "HEAD").strip()
    changed = output("git", "-C", here, "status", "--porcelain", "--untracked-files=no", "../src", "../session", "../cache")
    return name + (" with changes" if changed.strip() else "")


def busy(seconds=0.25):
    """Part of the processors' time that somebody used: nobody of ours, between two measurements."""

    def sample():
        times = [int(n) for n in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        return sum(times), times[3] + times[4]

    all_before, idle_before = sample()
    time.sleep(seconds)
    all_after, idle_after = sample()
    return 1 - (idle_after - idle_before) / max(1, all_after - all_before)


def await_quiet(patience):
    """Waits until the machine has nothing else to do, for so many seconds at most."""
    end = time.monotonic() + patience
    while patience and busy() > 0.1 and time.monotonic() < end:
        time.sleep(0.5)


def load():
    """Processes that want to run, on average of the last minute: ours, and those that disturb."""
    return os.getloadavg()[0]
