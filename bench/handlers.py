"""Compares what kinds of handlers cost; see README.md."""

import argparse
import os
import sqlite3
import statistics

import compare
import servers
from servers import Failed, say

ROWS = 10000
STATEMENTS = """\
-- name: item_by_id
SELECT id, name, price FROM items WHERE id = :id;
"""
READ = b'{"statement":"item_by_id","parameters":{"id":42}}'
POST_READ = (
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    % (len(READ), READ))

TITLES = {
    "kinds": "the same answer: built in, by a module, by a program in C",
    "reads": "one row of 10,000 by its key, from SQLite",
}


def kind_cases(options):
    """Each echoes the body."""
    for name, handler in (
            ("echo", "echo"),
            ("echo-again", "echo"),
            ("module", f"module:{options.module}"),
            ("exec", f"exec:{options.child}")):
        yield compare.job_case(
            "kinds", "hcsd", name=name,
            settings=(("HANDLERS", f'"/={handler}"'),))


def read_cases(options, folder):
    database = os.path.join(folder, "items.db")
    load = {"path": "/", "script": "reads.lua", "request": POST_READ}
    for pool in (1, 4):
        handler = (f"sqlite:{database}?statements="
                   f"{os.path.join(folder, 'items.sql')}&pool={pool}")
        yield compare.Case(
            "reads", f"hcsd, pool of {pool}", "hcsd",
            settings=(("HANDLERS", f'"/={handler}"'),), **load)
    if options.node_modules is not None:
        yield compare.Case(
            "reads", "node", "node", settings=(
                ("DATABASE", database),
                ("NODE_PATH", os.path.abspath(options.node_modules))), **load)


def make_database(folder):
    database = sqlite3.connect(os.path.join(folder, "items.db"))
    database.execute("PRAGMA journal_mode = WAL")
    database.execute(
        "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, price REAL)")
    database.executemany(
        "INSERT INTO items VALUES (?, ?, ?)",
        ((i, f"item number {i}", i / 4) for i in range(1, ROWS + 1)))
    database.commit()
    database.close()
    with open(os.path.join(folder, "items.sql"), "w") as file:
        file.write(STATEMENTS)


def print_group(group, cases, runs):
    """Ratios are to the first case of the group, round by round."""
    labels = [case.label for case in cases if case.group == group]
    first = labels[0]
    print(f"\n{TITLES[group]}")
    print(f"{'':26}{'req/s':>9}{'p50 us':>9}{'CPU us':>9}"
          f"{'req/s ratio':>13}{'CPU ratio':>11}{'min..max':>15}{'rounds':>8}")
    for label in labels:
        good = [run for run in runs[label] if run is not None]
        if not good:
            print(f"{label:26}{'failed':>9}")
            continue
        rate, p50, cpu = (statistics.median(getattr(run, field)
                                            for run in good)
                          for field in ("rate", "p50_us", "cpu_us"))
        line = f"{label:26}{rate:9.0f}{p50:9.0f}{cpu:9.2f}"
        by_rate = compare.ratios(runs, label, first, "rate")
        by_cpu = compare.ratios(runs, label, first, "cpu_us")
        if by_cpu:
            line += (f"{statistics.median(by_rate):13.3f}"
                     f"{statistics.median(by_cpu):11.3f}"
                     f"{f'{min(by_cpu):.3f}..{max(by_cpu):.3f}':>15}")
        print(f"{line}{len(good):8}")


def parse_options():
    first, second = servers.two_cpus()
    built = os.path.join(servers.TOP, "build")
    parser = argparse.ArgumentParser(
        prog="handlers.sh",
        description="Compares the kinds of handlers: requests per second, and "
        "CPU time per request of the daemon and its children, at 64 "
        "connections, on one core.")
    servers.add_program_options(parser)
    parser.add_argument("--module", metavar="FILE",
                        default=os.path.join(built, "bench/echo.so"),
                        help="echo as a module (build/bench/echo.so)")
    parser.add_argument("--child", metavar="FILE",
                        default=os.path.join(built, "bench/child"),
                        help="a program that echoes (build/bench/child)")
    parser.add_argument("--node-modules", metavar="FOLDER",
                        help="where npm has installed better-sqlite3@12: "
                        "compares with Node.js, too")
    parser.add_argument("-r", "--rounds", type=int, default=9)
    parser.add_argument("-s", "--seconds", type=int, default=2,
                        help="of each run (2)")
    parser.add_argument("--server-cpu", type=int, default=first,
                        help=f"the server's core ({first})")
    parser.add_argument("--client-cpu", type=int, default=second,
                        help=f"wrk's core ({second})")
    options = parser.parse_args()
    options.module = os.path.abspath(options.module)
    options.child = os.path.abspath(options.child)
    return options


def main():
    options = parse_options()
    wrk = servers.need_tool("wrk")
    if wrk is None:
        return 1
    with servers.Bench(options) as bench:
        if "hcsd" not in servers.check_programs(options, "load", "hcsd"):
            return 1
        cases = list(kind_cases(options))
        if os.path.exists(os.path.join(
                os.path.dirname(options.hcsd), "modules/sqlite.so")):
            make_database(bench.folder)
            cases += read_cases(options, bench.folder)
        else:
            say("hcsd was built without SQLite, its cases are skipped")
        if options.node_modules is not None and not servers.need_tool("node"):
            cases = [case for case in cases if case.server != "node"]
        runs, failures = compare.measure_all(bench, cases, options, wrk)
    for group in TITLES:
        if any(case.group == group for case in cases):
            print_group(group, cases, runs)
    compare.print_others(runs)
    if failures:
        print(f"\n{len(failures)} runs failed and are left out:")
        print("\n".join(failures))
    return 1 if failures else 0


if __name__ == "__main__":
    servers.run_main(main)
