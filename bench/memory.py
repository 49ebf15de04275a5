"""Weighs an idle connection; see README.md."""

import argparse
import json
import os
import subprocess
import time

import servers
from servers import Failed, say

CYCLES = 3
AT_ONCE = 64  # connections of a client process that are in a request
SETTLE_SECONDS = 1
CLOSE_SECONDS = 30
START_BYTES_MOST = 8 * 1024 * 1024
IDLE_BYTES_MOST = 256
RETURNED_BYTES_MOST = 8 * 1024 * 1024  # and a tenth of what there was
SPARE_DESCRIPTORS = 500

SUBJECTS = (
    ("hcsd, GET /health", "hcsd", servers.GET_HEALTH),
    ("hcsd, POST / job", "hcsd", servers.POST_JOB),
    ("nginx, one worker", "nginx", servers.GET_HEALTH),
    ("HAProxy, one thread", "haproxy", servers.GET_HEALTH),
    ("Go, POST / job", "go", servers.POST_JOB),
)


def start(bench, kind, connections):
    if kind == "nginx":
        # It closes idle connections once a sixteenth is all that is free.
        return bench.start(kind, connections=connections * 5 // 4)
    if kind == "haproxy":
        return bench.start(kind, connections=connections + SPARE_DESCRIPTORS)
    return bench.start(kind, loops=None)


class Holder:
    """An hcsd-load that opened its connections and keeps them."""

    def __init__(self, bench, server, request, connections):
        self.bench = bench
        room = servers.descriptor_limit() - SPARE_DESCRIPTORS
        # From two processes: what is asked at the same time is part of what
        # a server has to have room for.
        argv = [
            bench.options.load, "hold", "-c", str(connections),
            "--until-eof", "--json", "--quiet", "--in-flight",
            str(2 * AT_ONCE), "--processes",
            str(max(2, -(-connections // room))),
            "--request", bench.request_file(request), server.url("/")]
        self.process = bench.launch(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line or json.loads(line)["status"] != {"200": connections}:
            raise Failed(f"{server.name}: {line.strip() or 'no answer'}")

    def release(self, patience=CLOSE_SECONDS):
        output, _ = self.process.communicate(timeout=patience)
        self.bench.end(self.process)
        if json.loads(output)["connections"]["closed_by_server"] != 0:
            raise Failed(f"connections closed while held: {output.strip()}")


def settle(server, connections):
    """Waits until the server has as many connections, and has rested."""
    end = time.monotonic() + CLOSE_SECONDS
    while (there := server.connections()) != connections:
        if time.monotonic() > end:
            raise Failed(f"{server.name}: {there} connections instead of "
                         f"{connections}")
        time.sleep(0.1)
    time.sleep(SETTLE_SECONDS)


def weigh(bench, subject, connections, cycles=CYCLES):
    """Bytes per connection: the highest of the cycles, over what the server
    had before anybody came."""
    label, kind, request = subject
    server = start(bench, kind, connections)
    settle(server, 0)
    none = server.private_dirty_bytes()
    held = []
    after = []
    for _ in range(cycles):
        holder = Holder(bench, server, request, connections)
        settle(server, connections)
        held.append(server.private_dirty_bytes())
        holder.release()
        settle(server, 0)
        after.append(server.private_dirty_bytes())
    bench.stop(server)
    return {"label": label, "server": kind, "connections": connections,
            "bytes_each": (max(held) - none) / connections,
            "start_bytes": none, "held_bytes": held, "after_bytes": after}


def print_weight(weight):
    cycles = " ".join(mib(high) for high in weight["held_bytes"])
    left = " ".join(mib(low) for low in weight["after_bytes"])
    print(f"{weight['label']:22}{weight['bytes_each']:9.0f}"
          f"{mib(weight['start_bytes']):>11}   {cycles:26}{left}", flush=True)


def peak(bench, options):
    """The resident set after so many connections came, had a job answered, and
    went."""
    n = options.peak
    room = servers.descriptor_limit() - SPARE_DESCRIPTORS
    server = bench.start(
        "hcsd", loops=max(os.cpu_count(), -(-n // room)),
        environment={"MAX_CONNECTIONS": str(n + 1000),
                     "IDLE_TIMEOUT": "1h"})
    settle(server, 0)
    before = server.resident_bytes()
    holder = Holder(bench, server, servers.POST_JOB, n)
    settle(server, n)
    most = server.resident_bytes()
    holder.release()
    settle(server, 0)
    after = server.resident_bytes()
    bench.stop(server)
    print(f"\n{n} connections, a job on each, and gone: resident MiB before "
          f"{mib(before)}, at the peak {mib(most)}, after {mib(after)}")
    bound = before * 1.1 + RETURNED_BYTES_MOST
    print_bar(f"after <= {mib(bound)} MiB", mib(after), after <= bound)


def mib(count):
    return f"{count / 2**20:.2f}"


def parse_options():
    parser = argparse.ArgumentParser(
        prog="memory.sh",
        description="Weighs an idle keep-alive connection, and a daemon that "
        "has just started, by Private_Dirty.")
    servers.add_program_options(parser)
    parser.add_argument("-c", "--connections", type=int, default=15000)
    parser.add_argument("--peak", type=int, default=200000, metavar="N",
                        help="connections after which hcsd is to be as it "
                        "was (200000; 0: leave it out)")
    servers.add_peer_options(parser)
    parser.add_argument("--json", metavar="FILE",
                        help="write what was weighed there, too")
    return parser.parse_args()


def most_connections(wanted):
    """A server with one descriptor table can hold no more than its limit."""
    room = servers.descriptor_limit() - SPARE_DESCRIPTORS
    if wanted > room:
        say(f"the hard limit on descriptors allows for {room} connections, "
            f"not {wanted}")
    return min(wanted, room)


def main():
    options = parse_options()
    connections = most_connections(options.connections)
    with servers.Bench(options) as bench:
        there = servers.check_programs(options, "load", "hcsd")
        there += bench.find_peers()
        print(f"{connections} connections, held idle after one request each, "
              f"{CYCLES} cycles; Private_Dirty")
        print(f"{'':22}{'B each':>9}{'start MiB':>11}   "
              f"{'held MiB':26}after MiB")
        found = []
        failures = []
        for subject in SUBJECTS:
            label, kind, _ = subject
            if kind in there:
                try:
                    found.append(weigh(bench, subject, connections))
                    print_weight(found[-1])
                except Failed as error:
                    failures.append(f"{label}: {error}")
                    say(failures[-1])
        if "hcsd" in there and options.peak > 0:
            peak(bench, options)
    if options.json is not None:
        servers.write_figures(
            options.json, {"weights": found, "failures": failures})
    ours = [weight for weight in found if weight["server"] == "hcsd"]
    if ours:
        each = max(weight["bytes_each"] for weight in ours)
        begin = max(weight["start_bytes"] for weight in ours)
        print_bar(f"idle connection <= {IDLE_BYTES_MOST} B", f"{each:.0f} B",
                  each <= IDLE_BYTES_MOST)
        print_bar(f"start <= {mib(START_BYTES_MOST)} MiB", f"{mib(begin)} MiB",
                  begin <= START_BYTES_MOST)
    return 1 if failures else 0


def print_bar(asked, found, met):
    print(f"bar: {asked}: {found}, {'met' if met else 'missed'}")


if __name__ == "__main__":
    servers.run_main(main)
