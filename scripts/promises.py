#!/usr/bin/env python3
"""Fails unless each promise in SECURITY.md names tests, and each test that it names exists.

`make test` runs them; one that is ignored there must be named with `(by hand)` behind it.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMED = re.compile(r"`([^`]+)`( \(by hand\))?")
TEST = re.compile(r"#\[test\]\s*((?:#\[.*\]\s*)*)fn (\w+)\(")


def tests(path):
    """The tests in a file, or in those of a directory, and whether each is ignored."""
    files = sorted(path.rglob("*.rs")) if path.is_dir() else [path]
    found = {}
    for file in files:
        for attributes, name in TEST.findall(file.read_text()):
            found[name] = "#[ignore" in attributes
    return found


def check(named):
    """What is wrong with the tests that a promise names."""
    wrong, count, path, found = [], 0, None, {}
    for name, by_hand in NAMED.findall(named):
        if "/" in name:
            path = name
            exists = (ROOT / path).exists()
            found = tests(ROOT / path) if exists else {}
            if not exists:
                wrong.append(f"{path} does not exist")
            elif not found:
                wrong.append(f"{path} has no test")
            # A file alone stands for all its tests.
            count += len(found)
        elif path is None:
            wrong.append(f"{name} is in no file")
        elif name not in found:
            wrong.append(f"{path} has no test {name}")
        elif found[name] and not by_hand:
            wrong.append(f"{path}: {name} is ignored")
    return wrong if wrong or count else ["names no test"]


def main():
    wrong, promises = [], 0
    for number, line in enumerate((ROOT / "SECURITY.md").read_text().splitlines(), 1):
        if not line.startswith("|") or line in ("| promise | tests |", "| --- | --- |"):
            continue
        promises += 1
        _, _, named = line.rstrip(" |").rpartition(" | ")
        wrong += [f"SECURITY.md:{number}: {what}" for what in check(named)]
    if not promises:
        wrong.append("SECURITY.md has no promises")
    for what in wrong:
        print(f"promises: {what}", file=sys.stderr)
    sys.exit(bool(wrong))


main()
