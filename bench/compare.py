"""Compares servers by what a request costs them; see README.md."""

import argparse
import dataclasses
import fnmatch
import math
import os
import random
import re
import statistics
import time

import servers
from servers import Failed, say

WRK_SCRIPTS = os.path.join(servers.HERE, "wrk")
WARM_UP_REQUESTS = 200  # on each connection; no part of the measure
QUIET_CORES = 0.05  # what others may use before a table is called doubtful
FEW = 6  # rounds, with less of which no interval holds the median with 95 %
KIB16 = 16 * 1024


@dataclasses.dataclass(frozen=True)
class Case:
    """A server under a load. Its group is what it may be compared with: the
    case 'floor' of the same group got the same load in the same round."""

    group: str
    name: str
    server: str
    path: str = "/health"
    script: str = None
    connections: int = 64
    loops: int = 1
    pinned: bool = True
    request: bytes = servers.GET_HEALTH  # to warm up with
    settings: tuple = ()
    warm_up: bool = True

    @property
    def label(self):
        return self.name if self.group == "main" else (
            f"{self.group}/{self.name}")


def job_case(group, server, **more):
    return Case(group, server=server, path="/",
                **{"name": f"{server}-job", "script": "post.lua", "request": servers.POST_JOB, **more})


def main_cases():
    return [
        Case("main", "floor", "floor"),
        Case("main", "floor-again", "floor"),
        Case("main", "hcsd-health", "hcsd"),
        job_case("main", "hcsd"),
        Case("main", "hcsd-pipelined", "hcsd", script="pipeline.lua"),
        Case("main", "nginx", "nginx"),
        Case("main", "haproxy", "haproxy"),
        Case("main", "go-health", "go"),
        job_case("main", "go"),
    ]


def more_cases():
    one = {"connections": 1}
    two = {"loops": 2, "pinned": False}
    fields = {"script": "fields.lua"}
    close = {"script": "close.lua"}
    body = b'{"data":"%s"}' % (b"x" * (KIB16 - len('{"data":""}')))
    large = {"script": "body16k.lua", "request": (
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
        % (len(body), body))}
    cases = [
        Case("pipelined", "nginx", "nginx", script="pipeline.lua"),
        Case("pipelined", "go-health", "go", script="pipeline.lua"),
        # The floor closes by itself, and cannot be warmed up on connections
        # that are to stay.
        Case("close", "floor", "floor", settings=(("CLOSE", "1"),),
             warm_up=False, **close),
        Case("16k", "floor", "floor", path="/",
             settings=(("REPLY_BYTES", str(KIB16)),), **large),
        job_case("16k", "hcsd", **large),
        job_case("16k", "go", **large),
    ]
    for group, load in (("one", one), ("two-cores", two), ("fields", fields),
                        ("close", close)):
        if group != "close":
            cases.append(Case(group, "floor", "floor", **load))
        cases.append(Case(group, "hcsd-health", "hcsd", **load))
        if group in ("one", "two-cores"):
            cases.append(job_case(group, "hcsd", **load))
        cases.append(Case(group, "nginx", "nginx", **load))
        cases.append(Case(group, "go-health", "go", **load))
        if group in ("one", "two-cores"):
            cases.append(job_case(group, "go", **load))
    order = ["one", "two-cores", "fields", "16k", "close", "pipelined"]
    return sorted(cases, key=lambda case: order.index(case.group))


GROUP_TITLES = {
    "main": "64 connections, one core",
    "one": "1 connection, one core",
    "two-cores": "64 connections, two cores shared with wrk, nothing pinned",
    "fields": "64 connections, requests with twelve fields (700 bytes)",
    "16k": "64 connections, bodies of 16 KiB; the floor sends 16 KiB",
    "close": "64 clients, a fresh connection for each request",
    "pipelined": "64 connections, requests pipelined 16 deep",
}


@dataclasses.dataclass(frozen=True)
class Run:
    rate: float  # requests per second
    cpu_us: float  # of the server, per request
    p50_us: float
    others: float  # cores that programs beside server and wrk kept busy


@dataclasses.dataclass(frozen=True)
class Bar:
    """What is asked of `value(case) / value(reference)`, medians of rounds."""

    title: str
    case: str
    reference: str
    field: str
    limit: float
    at_most: bool


BARS = (
    Bar("GET /health, CPU over the floor's",
        "hcsd-health", "floor", "cpu_us", 1.08, True),
    Bar("POST / job, CPU over the floor's",
        "hcsd-job", "floor", "cpu_us", 1.20, True),
    Bar("GET /health, CPU over nginx's constant",
        "hcsd-health", "nginx", "cpu_us", 1.0, True),
    Bar("POST / job, CPU over nginx's constant",
        "hcsd-job", "nginx", "cpu_us", 1.0, True),
    Bar("POST / job, throughput over the Go server's",
        "hcsd-job", "go-job", "rate", 1.7, False),
    Bar("GET /health 16 deep, CPU over the unpipelined",
        "hcsd-pipelined", "hcsd-health", "cpu_us", 0.25, True),
)

UNITS = {"us": 1, "ms": 1e3, "s": 1e6, "m": 60e6, "h": 3600e6}


def parse_wrk(output, connections):
    """A Run without its CPU time. Failed when not every request went well."""
    total = re.search(r"(\d+) requests in ", output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    p50 = re.search(r"50%\s+([\d.]+)(us|ms|s|m|h)\b", output)
    wrong = re.findall(r"(?:Socket errors|Non-2xx).*", output)
    if total is None or rate is None or p50 is None:
        raise Failed(f"wrk: {output.strip()}")
    if wrong:
        raise Failed("; ".join(line.strip() for line in wrong))
    # wrk does not call a reply that never comes an error.
    if float(rate[1]) < connections:
        raise Failed(f"stalled: {total[1]} requests were answered")
    return int(total[1]), float(rate[1]), float(p50[1]) * UNITS[p50[2]]


class Clock:
    """CPU time of a server, and of what else the machine did meanwhile."""

    def __init__(self, server):
        self.server = server
        self.start = time.monotonic()
        self.machine = servers.machine_cpu_seconds()
        self.client = servers.children_cpu_seconds()
        self.spent = server.cpu_seconds()

    def stop(self):
        spent = self.server.cpu_seconds() - self.spent
        client = servers.children_cpu_seconds() - self.client
        machine = servers.machine_cpu_seconds() - self.machine
        others = machine - spent - client
        return spent, max(0.0, others / (time.monotonic() - self.start))


def measure(bench, case, options, wrk):
    """One run of one case, with a server started for it: where a process came
    to lie in memory is worth a percent, so the rounds draw lots for that."""
    server_cpu = options.server_cpu if case.pinned else None
    client_cpu = options.client_cpu if case.pinned else None
    server = bench.start(case.server, loops=case.loops, cpu=server_cpu,
                         environment=dict(case.settings))
    try:
        if case.warm_up:
            bench.ask(server, case.request, connections=case.connections,
                       requests=WARM_UP_REQUESTS, cpu=client_cpu)
        argv = [wrk, "-t", str(case.loops), "-c", str(case.connections),
                "-d", f"{options.seconds}s", "--latency"]
        if client_cpu is not None:
            argv = ["taskset", "-c", str(client_cpu), *argv]
        if case.script is not None:
            argv += ["-s", os.path.join(WRK_SCRIPTS, case.script)]
        clock = Clock(server)
        output, _ = bench.run([*argv, server.url(case.path)],
                              timeout=options.seconds + 60)
        spent, others = clock.stop()
        requests, rate, p50_us = parse_wrk(output, case.connections)
        return Run(rate, spent / requests * 1e6, p50_us, others)
    except OSError as error:
        raise Failed(f"{case.server} is gone: {error}; "
                     f"{server.last_words()}") from None
    finally:
        bench.stop(server)


def measure_all(bench, cases, options, wrk):
    """runs[label] is a list with a Run, or None, for each round."""
    runs = {case.label: [] for case in cases}
    failures = []
    for number in range(1, options.rounds + 1):
        say(f"round {number} of {options.rounds}")
        # In another order each time: no case is always the one after the
        # heaviest, and a slow drift of the machine meets all of them.
        for case in random.sample(cases, len(cases)):
            try:
                run = measure(bench, case, options, wrk)
            except Failed as error:
                failures.append(f"round {number}, {case.label}: {error}")
                say(failures[-1])
                run = None
            runs[case.label].append(run)
    return runs, failures


def ratios(runs, case, reference, field):
    """Of each round in which both went well."""
    return [
        getattr(one, field) / getattr(other, field)
        for one, other in zip(runs.get(case, ()), runs.get(reference, ()))
        if one is not None and other is not None
    ]


def median_interval(values):
    """The range that holds the median of what the values are drawn from, with
    a confidence of 95 % or as near as so few can come: by order statistics,
    so without a word about their distribution. Nine values: the second
    smallest to the second largest."""
    values = sorted(values)
    count = len(values)
    # Leaving out k at each end misses the median with 2 P(X <= k), X being
    # how many of so many tosses of a coin come up heads.
    cut = 0
    missed = 1 / 2**count
    while missed + math.comb(count, cut + 1) / 2**count <= 0.025:
        cut += 1
        missed += math.comb(count, cut) / 2**count
    return values[cut], values[count - 1 - cut]


def noise_of(runs, field):
    """How far from 1 the ratio of two like things may come out, here and now:
    0.01 is one percent. None without a pair."""
    pairs = ratios(runs, "floor-again", "floor", field)
    if not pairs:
        return None
    low, high = median_interval(pairs)
    return max(high - 1, 1 - low)


def print_group(group, cases, runs):
    print(f"\n{GROUP_TITLES[group]}")
    print(f"{'':26}{'req/s':>9}{'p50 us':>9}{'CPU us':>9}"
          f"{'/ floor':>9}{'min..max':>15}{'rounds':>8}")
    floor = "floor" if group == "main" else f"{group}/floor"
    for case in cases:
        if case.group != group:
            continue
        good = [run for run in runs[case.label] if run is not None]
        if not good:
            print(f"{case.label:26}{'failed':>9}")
            continue
        line = f"{case.label:26}"
        line += f"{statistics.median(run.rate for run in good):9.0f}"
        line += f"{statistics.median(run.p50_us for run in good):9.0f}"
        line += f"{statistics.median(run.cpu_us for run in good):9.2f}"
        over = ratios(runs, case.label, floor, "cpu_us")
        if over and case.label != floor:
            line += f"{statistics.median(over):9.3f}"
            line += f"{f'{min(over):.3f}..{max(over):.3f}':>15}"
        else:
            line += f"{'':24}"
        print(f"{line}{len(good):8}")


def noise_line(runs):
    """In words; None without a pair of floors."""
    if noise_of(runs, "cpu_us") is None:
        return None
    return (f"floor against floor: CPU within "
            f"{noise_of(runs, 'cpu_us') * 100:.1f} %, throughput within "
            f"{noise_of(runs, 'rate') * 100:.1f} %")


def verdict_on(ratio, limit, at_most, noise):
    """Met or missed, where it is farther from the limit than the noise."""
    margin = abs(ratio / limit - 1)
    if noise is None or noise > margin:
        return f"inconclusive (by {margin * 100:.1f} %)"
    met = (ratio <= limit) == at_most
    return f"{'met' if met else 'missed'} (by {margin * 100:.1f} %)"


def judge(runs):
    """Title, ratio, what was asked, and the verdict, of each bar."""
    for bar in BARS:
        values = ratios(runs, bar.case, bar.reference, bar.field)
        if values:
            ratio = statistics.median(values)
            yield (bar.title, ratio,
                   f"{'<=' if bar.at_most else '>='} {bar.limit}",
                   verdict_on(ratio, bar.limit, bar.at_most,
                              noise_of(runs, bar.field)))


def print_bars(runs):
    line = noise_line(runs)
    if line is not None:
        print(f"\n{line}")
    lines = [f"{title:46}{ratio:8.3f}   {asked:<9}{verdict}"
             for title, ratio, asked, verdict in judge(runs)]
    if lines:
        print(f"\n{'bar':46}{'ratio':>8}   asked")
        print("\n".join(lines))


def others_line(others):
    """A warning, when other programs used the machine meanwhile; or None."""
    if not others or statistics.mean(others) <= QUIET_CORES:
        return None
    return (f"other programs kept {statistics.mean(others):.2f} cores busy "
            "meanwhile: measure again when the machine is quiet")


def print_others(runs):
    line = others_line([run.others for row in runs.values() for run in row
                        if run is not None])
    if line is not None:
        print(f"\n{line}")


def raw_of(cases, runs, failures, options):
    """All that was measured, as JSON can hold it."""
    return {
        "rounds": options.rounds,
        "seconds": options.seconds,
        "cases": [{
            "label": case.label, "group": case.group, "server": case.server,
            "runs": [run and dataclasses.asdict(run)
                     for run in runs[case.label]],
        } for case in cases],
        "failures": failures,
    }


def runs_of(raw):
    """The runs back from what raw_of made of them."""
    return {case["label"]: [run and Run(**run) for run in case["runs"]]
            for case in raw["cases"]}


def choose(cases, patterns):
    """The cases that were asked for, and the floors that they are held
    against."""
    if not patterns:
        return cases
    wanted = [case for case in cases if any(
        fnmatch.fnmatch(case.label, pattern) for pattern in patterns)]
    if not wanted:
        raise Failed("no such case; --list names them")
    groups = {case.group for case in wanted}
    return [case for case in cases if case in wanted or (
        case.server == "floor" and case.group in groups)]


def parse_options():
    first, second = servers.two_cpus()
    parser = argparse.ArgumentParser(
        prog="compare.sh",
        description="Compares floor, hcsd, nginx and a Go server: requests "
        "per second, and the server's CPU time per request as a ratio to the "
        "floor's.")
    servers.add_program_options(parser)
    servers.add_peer_options(parser)
    parser.add_argument("-r", "--rounds", type=int, default=9)
    parser.add_argument("-s", "--seconds", type=int, default=2,
                        help="of each run (2)")
    parser.add_argument("--all", action="store_true",
                        help="the cases without a bar, too")
    parser.add_argument(
        "--cases", metavar="PATTERN", nargs="+", default=[],
        help="only these, as --list names them, e.g. 'hcsd-*' 'one/*'")
    parser.add_argument("--list", action="store_true", help="name the cases")
    parser.add_argument("--json", metavar="FILE",
                        help="write what each run measured there, too")
    parser.add_argument("--server-cpu", type=int, default=first,
                        help=f"the server's core ({first})")
    parser.add_argument("--client-cpu", type=int, default=second,
                        help=f"wrk's core ({second})")
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds < 1:
        parser.error("at least one round of one second")
    return options


def main():
    options = parse_options()
    cases = main_cases()
    if options.all or options.cases or options.list:
        cases += more_cases()
    cases = choose(cases, options.cases)
    if options.list:
        print("\n".join(case.label for case in cases))
        return 0
    wrk = servers.need_tool("wrk")
    if wrk is None:
        return 1
    with servers.Bench(options) as bench:
        there = servers.check_programs(options, "floor", "load", "hcsd")
        there += bench.find_peers({case.server for case in cases})
        cases = [case for case in cases if case.server in there]
        if options.server_cpu == options.client_cpu:
            say("server and client share a core: the ratios say little")
        say(f"{len(cases)} cases, {options.rounds} rounds: about "
            f"{len(cases) * options.rounds * (options.seconds + 1) / 60:.0f} "
            "minutes")
        runs, failures = measure_all(bench, cases, options, wrk)
    if options.json is not None:
        servers.write_figures(
            options.json, raw_of(cases, runs, failures, options))
    for group in GROUP_TITLES:
        if any(case.group == group for case in cases):
            print_group(group, cases, runs)
    print_bars(runs)
    print_others(runs)
    if failures:
        print(f"\n{len(failures)} runs failed and are left out:")
        print("\n".join(failures))
    return 1 if failures else 0


if __name__ == "__main__":
    servers.run_main(main)
