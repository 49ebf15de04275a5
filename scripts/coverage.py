#!/usr/bin/env python3
"""Prints what gcovr counted, and holds it against the list of exceptions.

    coverage.py [--branches] [--figures-only] COVERAGE.json EXCEPTIONS

Each entry of the list stands for lines that no test runs, or for a line of
which a branch is never taken:

    FILE FUNCTION: TEXT
        reason

TEXT is how the line reads, blanks apart. Of several lines that follow each
other and are not run it is the first: the entry stands for all of them, and for
the branch that leads there. "*" stands for the whole function. No line numbers,
since they drift. A reason that begins with "sometimes:" says that it is up to
chance, such as a race, or to the machine, whether a run gets there; such an
entry may stand when all was run.

Ends with status 1 when a goal is missed, a line is uncovered without a reason,
or an entry is left over. Branches without a reason are counted, and listed with
--branches; too many of them are up to chance to insist on each.
"""

import argparse
import json
import os
import re
import sys

GOALS = {"lines": 95.0, "branches": 85.0}
CHANCE = "sometimes:"


class Count:
    """How many there are, and how many of them were run."""

    def __init__(self):
        self.all = 0
        self.run = 0

    def add(self, other):
        self.all += other.all
        self.run += other.run

    def percent(self):
        return 100.0 * self.run / self.all if self.all else 100.0


class Source:
    def __init__(self, data):
        self.path = data["file"]
        with open(self.path, encoding="utf-8") as text:
            self.text = [" ".join(line.split()) for line in text]
        starts = {}  # a static function of a header is there once an object
        for function in data["functions"]:
            starts[function["lineno"]] = function["name"]
        self.starts = sorted(starts.items())
        self.lines = []  # (number, times run, branches' times)
        for line in data["lines"]:
            if not line["gcovr/noncode"]:
                self.lines.append((line["line_number"], line["count"],
                                   [branch["count"] for branch in line["branches"]]))
        self.lines.sort()

    def reads(self, number):
        return self.text[number - 1]

    def function(self, number):
        name = "-"
        for start, candidate in self.starts:
            if start <= number:
                name = candidate
        return name

    def line_count(self):
        count = Count()
        count.all = len(self.lines)
        count.run = sum(1 for line in self.lines if line[1] > 0)
        return count

    def branch_count(self):
        count = Count()
        for _, _, branches in self.lines:
            count.all += len(branches)
            count.run += sum(1 for times in branches if times > 0)
        return count

    def gaps(self):
        """Lines not run, those that follow each other together: lists of
        numbers. A gap ends with its function."""
        gaps = []
        current = None  # the function of the gap that may still grow
        for number, times, _ in self.lines:
            function = self.function(number)
            if times > 0:
                current = None
            elif current == function:
                gaps[-1].append(number)
            else:
                gaps.append([number])
                current = function
        return gaps


    def half_taken(self):
        """Lines run of which a branch was never taken, but for those whose
        only such branch leads to a gap: numbers, with taken and all branches."""
        found = []
        for index, (number, times, branches) in enumerate(self.lines):
            taken = sum(1 for branch in branches if branch > 0)
            if times == 0 or taken == len(branches):
                continue
            rest = self.lines[index + 1:index + 2]
            if (taken == len(branches) - 1 and rest and rest[0][1] == 0 and
                    self.function(number) == self.function(rest[0][0])):
                continue
            found.append((number, taken, len(branches)))
        return found


class Entry:
    def __init__(self, number, path, function, text):
        self.number = number  # of its line in the list
        self.path = path
        self.function = function
        self.text = " ".join(text.split())
        self.reason = ""
        self.used = False

    def explains(self, source, number):
        return (self.path == source.path and self.function == source.function(number) and
                self.text in ("*", source.reads(number)))


def read_entries(path):
    entries = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            if line[0].isspace() and entries:
                entries[-1].reason = (entries[-1].reason + " " + line.strip()).strip()
                continue
            found = re.match(r"(\S+) (\S+): (.+)$", line)
            if not found:
                sys.exit("%s:%d: not FILE FUNCTION: TEXT" % (path, number))
            entries.append(Entry(number, *found.groups()))
    for entry in entries:
        if not entry.reason:
            sys.exit("%s:%d: no reason" % (path, entry.number))
    return entries


def folder_of(path):
    return os.path.dirname(path) + "/"


def print_table(sources):
    folders = {}
    total = (Count(), Count())
    rows = []
    for source in sources:
        counts = (source.line_count(), source.branch_count())
        rows.append((source.path, counts))
        folder = folders.setdefault(folder_of(source.path), (Count(), Count()))
        for kind in (0, 1):
            folder[kind].add(counts[kind])
            total[kind].add(counts[kind])

    def show(name, counts):
        print("%-28s %5.1f %% %5d of %5d   %5.1f %% %5d of %5d" % (
            name, counts[0].percent(), counts[0].run, counts[0].all,
            counts[1].percent(), counts[1].run, counts[1].all))

    print("%-28s %-23s %s" % ("", "lines", "branches"))
    for table in (rows, list(folders.items())):
        table.sort(key=lambda row: (row[1][0].percent(), row[1][1].percent()))
        for name, counts in table:
            show(name, counts)
        print()
    show("total", total)
    print()
    return {"lines": total[0].percent(), "branches": total[1].percent()}


def is_explained(entries, source, number):
    matching = [entry for entry in entries if entry.explains(source, number)]
    for entry in matching:
        entry.used = True
    return bool(matching)


def compare(sources, entries, list_name, show_branches):
    """Gives how many complaints there were."""
    complaints = 0
    explained = 0
    for source in sources:
        for gap in source.gaps():
            if is_explained(entries, source, gap[0]):
                explained += len(gap)
                continue
            complaints += 1
            print("no test runs, and %s does not say why:" % list_name)
            print("  %s %s: %s" % (source.path, source.function(gap[0]), source.reads(gap[0])))
            for number in gap:
                print("    %5d  %s" % (number, source.reads(number)))
    branches = 0
    unexplained = []
    for source in sources:
        for number, taken, count in source.half_taken():
            if is_explained(entries, source, number):
                branches += 1
            else:
                unexplained.append("  %d of %d, line %d: %s %s: %s" % (
                    taken, count, number, source.path, source.function(number),
                    source.reads(number)))
    if show_branches and unexplained:
        print("branches never taken, and %s does not say why:" % list_name)
        print("\n".join(unexplained))
    for entry in entries:
        if not entry.used and not entry.reason.startswith(CHANCE):
            complaints += 1
            print("%s:%d: left over: run by now, or gone: %s %s: %s" % (
                list_name, entry.number, entry.path, entry.function, entry.text))
    print("%s explains %d lines that no test runs, and %d with a branch never taken" % (
        list_name, explained, branches))
    print("%d lines with a branch never taken have no reason there%s" % (
        len(unexplained), "" if show_branches else " (--branches lists them)"))
    print("%d complaints" % complaints)
    return complaints


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--branches", action="store_true",
                         help="list the lines of which a branch was never taken")
    options.add_argument("--figures-only", action="store_true",
                         help="compare with nothing")
    options.add_argument("coverage", help="what gcovr --json wrote")
    options.add_argument("exceptions", help="the list")
    options = options.parse_args()

    with open(options.coverage, encoding="utf-8") as data:
        sources = [Source(one) for one in json.load(data)["files"]]
    sources.sort(key=lambda source: source.path)
    if not sources:
        sys.exit("%s: nothing was counted" % options.coverage)
    reached = print_table(sources)
    if options.figures_only:
        return 0
    complaints = compare(sources, read_entries(options.exceptions),
                         os.path.basename(options.exceptions), options.branches)
    for kind, goal in GOALS.items():
        if reached[kind] < goal:
            complaints += 1
            print("%s: %.1f %% is below the goal of %.0f %%" % (kind, reached[kind], goal))
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
