"""Counts what a request costs in things that can be counted; see README.md."""

import argparse
import dataclasses
import os
import re
import statistics
import subprocess
import time

import functions
import servers
from servers import Failed, say

TRACED_REQUESTS = (20, 120)  # on each connection: the difference counts
NATIVE_REQUESTS = 1000
CONNECTIONS = 64
READINGS = (1000, 3000)  # of one header section, alike
REPEATS = 3
IDLE_SECONDS = 10
PATIENCE = 300  # a server under valgrind is a hundred times slower

SYSCALLS_OVER_FLOOR = 0.05
IDLE_WAKEUPS_PER_SECOND = 1


@dataclasses.dataclass(frozen=True)
class Subject:
    label: str
    server: str
    request: bytes
    settings: tuple = ()


SUBJECTS = (
    Subject("floor", "floor", servers.GET_HEALTH),
    Subject("hcsd GET /health", "hcsd", servers.GET_HEALTH),
    Subject("hcsd POST / job", "hcsd", servers.POST_JOB),
    Subject("hcsd POST / module", "hcsd", servers.POST_JOB, (
        ("HANDLERS", f'"/=module:{servers.TOP}/build/bench/echo.so"'),)),
)


def with_many_fields():
    """GET /health as a browser behind a proxy sends it, from wrk's load."""
    with open(os.path.join(servers.HERE, "wrk", "fields.lua")) as file:
        fields = re.findall(
            r'wrk\.headers\["([^"]+)"\]\s*=\s*"([^"]*)"', file.read())
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return servers.GET_HEALTH[:-2] + lines.encode() + b"\r\n"


def system_calls(bench, subject, requests, options):
    """Calls by name, of a whole life with so many requests on a connection."""
    account = bench.path("strace.out")
    server = bench.start(
        subject.server, cpu=options.server_cpu, patience=PATIENCE,
        environment=dict(subject.settings),
        tracer=["strace", "-f", "-c", "-o", account])
    bench.ask(server, subject.request, CONNECTIONS, requests,
               options.client_cpu, PATIENCE)
    # strace is the process we know, the server its child.
    bench.terminate(server, server.pids()[1], PATIENCE)
    calls = {}
    with open(account) as file:
        for line in file:
            field = line.split()
            if len(field) >= 5 and field[3].isdigit():
                calls[field[-1]] = int(field[3])
    if calls.pop("total", 0) == 0:
        raise Failed(f"{subject.label}: strace counted nothing")
    return calls


def callgrind(bench, subject, requests, options, *more):
    """The account of a whole life with so many requests."""
    account = bench.path("callgrind.out")
    # valgrind's own descriptors and private tables do not go together; which
    # table the kernel looks in is no user instruction.
    server = bench.start(
        subject.server, cpu=options.server_cpu, patience=PATIENCE,
        environment={"PRIVATE_FD_TABLES": "off", **dict(subject.settings)},
        tracer=["valgrind", "--tool=callgrind", "--quiet",
                f"--callgrind-out-file={account}", *more])
    bench.ask(server, subject.request, CONNECTIONS, requests,
               options.client_cpu, PATIENCE)
    bench.terminate(server, server.process.pid, PATIENCE)
    return account


def instructions(bench, subject, requests, options):
    """User instructions of a whole life with so many requests."""
    account = callgrind(bench, subject, requests, options)
    return callgrind_total(account, subject.label)


def callgrind_total(account, label):
    with open(account) as file:
        for line in file:
            if line.startswith("totals:"):
                return int(line.split()[1])
    raise Failed(f"{label}: callgrind counted nothing")


def reading_instructions(bench, part, times, request, options):
    """User instructions of a program that reads a section so many times."""
    account = bench.path("callgrind.out")
    name = bench.path("request.bin")
    with open(name, "wb") as file:
        file.write(request)
    try:
        subprocess.run(
            ["valgrind", "--tool=callgrind", "--quiet",
             f"--callgrind-out-file={account}", options.heads, part,
             str(times), name],
            check=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError) as error:
        raise Failed(f"heads {part}: {error}") from error
    return callgrind_total(account, f"heads {part}")


def per_request(few, many):
    low, high = TRACED_REQUESTS
    return (many - few) / ((high - low) * CONNECTIONS)


def count_system_calls(bench, subject, options):
    few, many = (system_calls(bench, subject, requests, options)
                 for requests in TRACED_REQUESTS)
    return {name: per_request(few.get(name, 0), count)
            for name, count in many.items()}


def count_instructions(bench, subject, options):
    few, many = (instructions(bench, subject, requests, options)
                 for requests in TRACED_REQUESTS)
    return per_request(few, many)


def count_functions(bench, subject, options):
    """User instructions per request, by group and function."""
    few, many = (
        functions.read_account(callgrind(
            bench, subject, requests, options, *functions.CALLGRIND_OPTIONS))
        for requests in TRACED_REQUESTS)
    low, high = TRACED_REQUESTS
    return functions.attribute(
        options.hcsd, few, many, (high - low) * CONNECTIONS)


def count_reading(bench, part, request, options):
    few, many = (reading_instructions(bench, part, times, request, options)
                 for times in READINGS)
    return (many - few) / (READINGS[1] - READINGS[0])


def count_switches(bench, subject, options):
    server = bench.start(subject.server, cpu=options.server_cpu,
                         environment=dict(subject.settings))
    before = server.context_switches()
    bench.ask(server, subject.request, CONNECTIONS, NATIVE_REQUESTS,
               options.client_cpu)
    after = server.context_switches()
    bench.stop(server)
    return (after - before) / (CONNECTIONS * NATIVE_REQUESTS)


def count_idle_wakeups(bench, subject):
    """With default settings, nobody connected."""
    server = bench.start(subject.server, loops=None)
    time.sleep(2)  # the end of the start, and of the client that looked
    before = server.context_switches()
    time.sleep(IDLE_SECONDS)
    after = server.context_switches()
    bench.stop(server)
    return (after - before) / IDLE_SECONDS


def spread(values):
    return f"{min(values):.3f}..{max(values):.3f}"


def repeat(count, *arguments):
    return [count(*arguments) for _ in range(REPEATS)]


def report_system_calls(bench, subjects, options):
    print(f"\nsystem calls per request (strace -f -c, median of {REPEATS})")
    totals = {}
    for subject in subjects:
        rounds = repeat(count_system_calls, bench, subject, options)
        sums = [sum(calls.values()) for calls in rounds]
        totals[subject.label] = statistics.median(sums)
        print(f"{subject.label:20}{totals[subject.label]:9.3f}"
              f"{spread(sums):>17}  {names_of(rounds)}", flush=True)
    floor = totals["floor"]
    health = totals.get("hcsd GET /health")
    if health is not None:
        verdict = verdict_of(health <= floor + SYSCALLS_OVER_FLOOR)
        print(f"bar: GET /health <= the floor's + {SYSCALLS_OVER_FLOOR}: "
              f"{health - floor:+.3f}, {verdict}")


def names_of(rounds):
    means = {name: statistics.median(calls.get(name, 0) for calls in rounds)
             for name in rounds[0]}
    ordered = sorted(means.items(), key=lambda item: -item[1])
    return "  ".join(f"{name} {count:.3f}" for name, count in ordered
                     if count >= 0.0005)


def report_instructions(bench, subjects, options):
    print("\nuser instructions per request (callgrind, median of "
          f"{REPEATS})")
    totals = {}
    for subject in subjects:
        counts = repeat(count_instructions, bench, subject, options)
        totals[subject.label] = statistics.median(counts)
        print(f"{subject.label:20}{totals[subject.label]:9.0f}"
              f"{f'{min(counts):.0f}..{max(counts):.0f}':>17}", flush=True)
    return totals


def report_functions(bench, subjects, options):
    functions.check_groups()
    columns = {
        subject.label.removeprefix("hcsd "):
            count_functions(bench, subject, options)
        for subject in subjects if subject.server == "hcsd"}
    print("\nuser instructions per request, by the function that they were "
          "written in (callgrind)")
    for line in functions.table(columns):
        print(line, flush=True)


def report_reading(bench, totals, options):
    """What of it is the header section: all of them the same in each run."""
    rows = (("hcsd GET /health", servers.GET_HEALTH),
            ("hcsd POST / job", servers.POST_JOB),
            ("twelve fields", with_many_fields()))
    print("\nuser instructions per header section (callgrind; llhttp alone, "
          "and with our reading)")
    print(f"{'':20}{'raw check':>9}{'llhttp':>9}{'reading':>9}")
    for label, request in rows:
        nothing, scan, alone, reading = (
            count_reading(bench, part, request, options)
            for part in ("nothing", "scan", "llhttp", "parse"))
        share = ""
        if label in totals:
            share = (f"   raw check: {(scan - nothing) / totals[label]:.1%} "
                     "of the request")
        print(f"{label:20}{scan - nothing:9.0f}{alone - nothing:9.0f}"
              f"{reading - nothing:9.0f}{share}", flush=True)


def report_switches(bench, subjects, options):
    print(f"\ncontext switches per request, of all threads (median of "
          f"{REPEATS})")
    for subject in subjects:
        counts = repeat(count_switches, bench, subject, options)
        print(f"{subject.label:20}{statistics.median(counts):9.3f}"
              f"{spread(counts):>17}", flush=True)


def report_idle(bench, subjects):
    print(f"\nwake-ups per second when idle, of all threads "
          f"({IDLE_SECONDS} s)")
    for subject in subjects:
        if subject.label in ("floor", "hcsd GET /health"):
            rate = count_idle_wakeups(bench, subject)
            print(f"{subject.server:20}{rate:9.1f}", flush=True)
            if subject.server == "hcsd":
                verdict = verdict_of(rate <= IDLE_WAKEUPS_PER_SECOND)
                print(f"bar: <= {IDLE_WAKEUPS_PER_SECOND}: {verdict}")


def verdict_of(met):
    return "met" if met else "missed"


def parse_options():
    first, second = servers.two_cpus()
    parser = argparse.ArgumentParser(
        prog="count.sh",
        description="Counts system calls, user instructions and context "
        "switches per request, and the wake-ups of an idle daemon.")
    servers.add_program_options(parser)
    parser.add_argument("--server-cpu", type=int, default=first,
                        help=f"the server's core ({first})")
    parser.add_argument("--client-cpu", type=int, default=second,
                        help=f"the client's core ({second})")
    parser.add_argument(
        "--heads", metavar="FILE",
        default=os.path.join(servers.TOP, "build/bench/heads"),
        help="the reader of header sections (build/bench/heads)")
    parser.add_argument(
        "--functions", action="store_true",
        help="only where hcsd's instructions go, function by function; wants "
        "a binary with line numbers (cmake --preset profile)")
    return parser.parse_args()


def main():
    options = parse_options()
    with servers.Bench(options) as bench:
        there = servers.check_programs(
            options, "floor", "load", "heads", "hcsd")
        subjects = [one for one in SUBJECTS if one.server in there]
        say(f"{CONNECTIONS} connections, in lock-step")
        if options.functions:
            if "hcsd" in there and servers.need_tool("valgrind"):
                report_functions(bench, subjects, options)
            return 0
        if servers.need_tool("strace"):
            report_system_calls(bench, subjects, options)
        if servers.need_tool("valgrind"):
            totals = report_instructions(bench, subjects, options)
            report_reading(bench, totals, options)
        report_switches(bench, subjects, options)
        report_idle(bench, subjects)
    return 0


if __name__ == "__main__":
    servers.run_main(main)
