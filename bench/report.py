"""Measures all that docs/benchmarks.md shows, and draws it; see README.md."""

import argparse
import datetime
import json
import os
import platform
import re
import subprocess

import compare
import memory
import openloop
import plots
import scaling
import servers
import tables
from servers import Failed, say

# In the order of the page. How many rounds each has if nobody says otherwise:
# the more the noise matters for what is said of it, the more.
ROUNDS = {"compare": 9, "latency": 5, "versus": 9, "memory": 3, "scaling": 3,
          "queue": 11}
QUICK_CONNECTIONS = 500  # of the part memory
QUICK_CASES = ("floor", "floor-again", "hcsd-health", "hcsd-job")
QUEUE_MILLISECONDS = 200
QUICK_QUEUE_MILLISECONDS = 10


# --- Where, and what with.


def first_match(pattern, path):
    try:
        with open(path) as file:
            found = re.search(pattern, file.read(), re.MULTILINE)
    except OSError:
        return None
    return found[1].strip() if found else None


def describe_machine():
    memory_kib = first_match(r"^MemTotal:\s+(\d+)", "/proc/meminfo")
    return {
        "processor": first_match(r"^model name\s*:\s*(.*)", "/proc/cpuinfo")
        or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory_kib or 0) / 2**20, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "distribution": first_match(r'^PRETTY_NAME="?([^"\n]*)',
                                    "/etc/os-release") or "unknown",
        "descriptor_limit": servers.descriptor_limit(),
    }


def first_line(*argv):
    """Of what a program says, on either stream; None when it does not."""
    try:
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            stdin=subprocess.DEVNULL, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout.strip().splitlines()
    return lines[0].strip() if lines else None


def describe_versions(options, kinds):
    """Of what takes part. hcsd with the commit of the tree, where that is a
    clone."""
    versions = {
        "hcsd": first_line(options.hcsd, "--version"),
        "commit": first_line("git", "-C", servers.TOP, "describe", "--always",
                             "--dirty"),
        "compiler": first_line("cc", "--version"),
        "wrk": first_line(servers.find_tool("wrk") or "wrk", "-v"),
        "concurrency kit": first_line("pkg-config", "--modversion", "ck"),
    }
    if "nginx" in kinds:
        versions["nginx"] = first_line(servers.find_tool("nginx"), "-v")
    if "haproxy" in kinds:
        versions["HAProxy"] = first_line(servers.find_tool("haproxy"), "-v")
    if "go" in kinds:
        versions["Go"] = first_line("go", "version")
    return {name: version for name, version in versions.items() if version}


# --- The parts. Each gives what is written to its file.


class Report:
    def __init__(self, bench, kinds, options):
        self.bench = bench
        self.kinds = kinds  # of server, that are here
        self.options = options
        self.capacity = options.capacity and {"rate": options.capacity}

    def rounds(self, part):
        if self.options.rounds is not None:
            return self.options.rounds
        return 1 if self.options.quick else ROUNDS[part]

    def hcsd_capacity(self):
        """Once for all parts."""
        if self.capacity is None:
            self.capacity = openloop.find_capacity(self.bench, self.options)
        return self.capacity

    def compare(self):
        wrk = servers.need_tool("wrk")
        if wrk is None:
            return None
        cases = [case for case in compare.main_cases()
                 if case.server in self.kinds]
        if self.options.quick:
            cases = [case for case in cases if case.label in QUICK_CASES]
        options = argparse.Namespace(**vars(self.options))
        options.rounds = self.rounds("compare")
        options.seconds = self.options.wrk_seconds
        runs, failures = compare.measure_all(self.bench, cases, options, wrk)
        return compare.raw_of(cases, runs, failures, options)

    def latency(self):
        kinds = [kind for kind in self.kinds if kind != "floor"]
        return openloop.measure_curve(self.bench, kinds, self.hcsd_capacity(),
                                      self.rounds("latency"), self.options)

    def versus(self):
        if "go" not in self.kinds:
            say("without the Go server this shows hcsd against itself")
        return openloop.measure_versus(
            self.bench, self.kinds, self.hcsd_capacity(),
            self.rounds("versus"), self.options)

    def memory(self):
        connections = memory.most_connections(
            QUICK_CONNECTIONS if self.options.quick
            else self.options.connections)
        weights = []
        failures = []
        for subject in memory.SUBJECTS:
            label, kind, _ = subject
            if kind not in self.kinds:
                continue
            say(label)
            try:
                weights.append(memory.weigh(self.bench, subject, connections,
                                            self.rounds("memory")))
            except Failed as error:
                failures.append(f"{label}: {error}")
                say(failures[-1])
        return {"connections": connections, "weights": weights,
                "failures": failures}

    def scaling(self):
        return scaling.measure(self.bench, self.rounds("scaling"),
                               self.options)

    def queue(self):
        milliseconds = (QUICK_QUEUE_MILLISECONDS if self.options.quick
                        else QUEUE_MILLISECONDS)
        repetitions = self.rounds("queue")
        output, status = self.bench.run(
            [self.options.queue, "--json", "--milliseconds",
             str(milliseconds), "--repetitions", str(repetitions)],
            timeout=60 + repetitions * milliseconds)
        if status != 0:
            raise Failed(f"queue-bench: {output.strip()}")
        return {**json.loads(output), "failures": []}


def measure(part, report, common, folder):
    """Measures a part and writes its file. The failures."""
    say(f"---- {part}")
    try:
        raw = getattr(report, part)()
    except Failed as error:
        say(f"{part}: {error}")
        return [f"{part}: {error}"]
    if raw is None:
        return []
    now = datetime.datetime.now(datetime.timezone.utc)
    raw = {"date": now.strftime("%Y-%m-%d"), **common, **raw}
    servers.write_figures(os.path.join(folder, f"{part}.json"), raw)
    return [f"{part}: {failure}" for failure in raw["failures"]]


def measure_all(options):
    with servers.Bench(options) as bench:
        kinds = servers.check_programs(options, "floor", "load", "queue",
                                       "hcsd")
        kinds = [kind for kind in kinds if kind in ("floor", "hcsd")]
        if "hcsd" not in kinds:
            raise Failed("without hcsd there is nothing to report")
        kinds += bench.find_peers(options.peers)
        if options.server_cpu == options.client_cpu:
            say("server and client share a core: these numbers say little")
        common = {"machine": describe_machine(),
                  "versions": describe_versions(options, kinds),
                  "quick": options.quick}
        report = Report(bench, kinds, options)
        failures = []
        for part in options.only:
            failures += measure(part, report, common, options.out)
    return failures


def read_raw(folder):
    """What was measured, now or before: a dictionary by part."""
    found = {}
    for part in ROUNDS:
        try:
            with open(os.path.join(folder, f"{part}.json")) as file:
                found[part] = json.load(file)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise Failed(f"{part}.json: {error}") from None
    return found


def write_page(folder):
    """Draws and tabulates all that lies there."""
    found = read_raw(folder)
    drawn = plots.draw_all(found, folder)
    with open(os.path.join(folder, "results.md"), "w") as file:
        file.write(tables.page(found, drawn))


def parse_options():
    first, second = servers.two_cpus()
    parser = argparse.ArgumentParser(
        prog="report.sh",
        description="Measures everything that docs/benchmarks.md shows, in "
        f"the parts {', '.join(ROUNDS)}; writes what each run measured, "
        "tables and plots.")
    servers.add_program_options(parser)
    parser.add_argument(
        "--queue", metavar="FILE",
        default=os.path.join(servers.TOP, "build/bench/queue-bench"),
        help="the benchmark of the queue (build/bench/queue-bench)")
    servers.add_peer_options(parser)
    parser.add_argument(
        "--peers", metavar="NAME", nargs="*", default=list(servers.PEERS),
        choices=servers.PEERS,
        help=f"of {', '.join(servers.PEERS)} only these, or none")
    parser.add_argument(
        "--out", metavar="FOLDER",
        default=os.path.join(servers.TOP, "docs/benchmarks"),
        help="where to (docs/benchmarks)")
    parser.add_argument("--only", metavar="PART", nargs="+", choices=ROUNDS,
                        default=list(ROUNDS), help="not all parts")
    parser.add_argument("--plot-only", action="store_true",
                        help="measure nothing, draw what was measured before")
    parser.add_argument("--quick", action="store_true",
                        help="a look at whether it works: one round of "
                        "everything, small and short")
    parser.add_argument("-r", "--rounds", type=int,
                        help="of each part (" + ", ".join(
                            f"{part} {count}"
                            for part, count in ROUNDS.items()) + ")")
    parser.add_argument("-c", "--connections", type=int, default=15000,
                        help="of the part memory (15000)")
    parser.add_argument("--capacity", type=int, metavar="N",
                        help="take this for the requests a second that hcsd "
                        "keeps up with, and do not look for it")
    parser.add_argument("--server-cpu", type=int, default=first,
                        help=f"the server's core ({first})")
    parser.add_argument("--client-cpu", type=int, default=second,
                        help=f"the client's core ({second})")
    options = parser.parse_args()
    if options.rounds is not None and options.rounds < 1:
        parser.error("at least one round")
    quick = options.quick
    options.wrk_seconds = 1 if quick else 2
    options.run_seconds = 0.5 if quick else 5
    options.idle_seconds = 1 if quick else scaling.IDLE_SECONDS
    options.fresh_seconds = 1 if quick else scaling.FRESH_SECONDS
    return options


def main():
    options = parse_options()
    options.out = os.path.abspath(options.out)
    os.makedirs(options.out, exist_ok=True)
    failures = [] if options.plot_only else measure_all(options)
    write_page(options.out)
    for failure in failures:
        say(f"failed: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    servers.run_main(main)
