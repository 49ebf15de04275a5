"""Sixty thousand jobs in flight at once; see README.md."""

import argparse
import json
import os
import subprocess
import time
import urllib.error
import urllib.request

import servers
from servers import Failed

WORKERS = 600
WAITERS = 4
WAIT = "120s"
DEFAULT_QUEUE = 10000
SPARE_DESCRIPTORS = 500
BYTES_MOST = 1536
BYTES_MOST_DEFERRED = 1024
SETTLE_SECONDS = 2


def settings(options, handler, **more):
    n = options.connections
    return {
        "HANDLERS": f"/={handler}", "WORKERS": str(options.workers),
        "MAX_CONNECTIONS": str(n + 1000), "QUEUE_TIMEOUT": "10m",
        "READ_TIMEOUT": "2m", **more,
    }


def start(bench, options, handler, **more):
    room = servers.descriptor_limit() - SPARE_DESCRIPTORS
    loops = max(-(-options.connections // room), os.cpu_count())
    return bench.start("hcsd", loops=loops,
                       environment=settings(options, handler, **more))


def burst(options, server):
    return [options.load, "burst", "-c", str(options.connections), "--json",
            "--quiet", "--timeout", "10m", "--body",
            servers.JOB_BODY.decode(), server.url("/")]


def stack_bytes(server):
    """What the threads have written on their stacks: the mappings that their
    stack pointers lie in."""
    pointers = []
    for task in os.listdir(f"/proc/{server.process.pid}/task"):
        path = f"/proc/{server.process.pid}/task/{task}/syscall"
        try:
            with open(path) as file:
                field = file.read().split()
        except OSError:
            continue  # it has ended
        if len(field) >= 3:  # not one that is running
            pointers.append(int(field[-2], 16))
    pointers.sort()
    total = 0
    inside = False
    with open(f"/proc/{server.process.pid}/smaps") as file:
        for line in file:
            field = line.split()
            if "-" in field[0] and not field[0].endswith(":"):
                low, high = (int(end, 16) for end in field[0].split("-"))
                inside = any(low <= at < high for at in pointers)
            elif inside and field[0] == "Private_Dirty:":
                total += int(field[1]) * 1024
    return total


def wait_until(server, look, what):
    end = time.monotonic() + 120
    while not look(server.metrics()):
        if time.monotonic() > end:
            raise Failed(f"waited in vain for {what}: {server.metrics()}")
        time.sleep(0.2)


def all_answered(options, output, status):
    """What the client counted, which has to be nothing but 200."""
    found = json.loads(output)
    if status != 0 or found["status"] != {"200": options.connections}:
        raise Failed(f"not all were answered: {output}")
    return found


def met(each, most):
    return f"{'met' if each <= most else 'MISSED'}: {most}"


def answered(bench, options):
    """All of them, though the queue is long."""
    server = start(bench, options, "sleep:100ms",
                   QUEUE_SIZE=str(options.connections))
    output, status = bench.run(burst(options, server), timeout=900)
    found = all_answered(options, output, status)
    seconds = found["seconds"]
    n = options.connections
    print(f"answered     {found['status'].get('200', 0)} of {n} in "
          f"{seconds:.1f} s ({options.workers} workers, 100 ms each: "
          f"{n * 0.1 / options.workers:.1f} s at the least); failed "
          f"{found['requests']['failed']}, lost {found['requests']['lost']}; "
          f"p95 {found['latency_us']['p95'] / 1e6:.1f} s")
    bench.stop(server)
    return found


def weighed(bench, options):
    """What one costs while it waits."""
    n = options.connections
    server = start(bench, options, "sleep:10m", QUEUE_SIZE=str(n))
    time.sleep(1)
    none = server.private_dirty_bytes()
    none_stacks = stack_bytes(server)
    load = bench.launch(burst(options, server), stdout=subprocess.DEVNULL)
    wait_until(server, lambda page: page["queue_depth"] ==
               n - options.workers, "all to wait")
    time.sleep(SETTLE_SECONDS)
    whole = server.private_dirty_bytes() - none
    stacks = stack_bytes(server) - none_stacks
    each = (whole - stacks) / n
    print(f"memory       {each:.0f} B a waiting request "
          f"({met(each, BYTES_MOST)}); "
          f"beside it {stacks / 2**20:.1f} MiB more on the stacks of "
          f"{options.workers} workers, {none_stacks / 2**20:.1f} MiB before")
    bench.end(load)
    bench.stop(server)
    return each, stacks


def deferred(bench, options):
    """Few workers, and all in flight at once: what each costs, and that each
    is answered."""
    n = options.connections
    server = start(bench, options, f"wait:{options.wait}",
                   WORKERS=str(WAITERS), QUEUE_SIZE=str(n))
    time.sleep(1)
    none = server.private_dirty_bytes()
    none_resident = server.resident_bytes()
    load = bench.launch(burst(options, server), stdout=subprocess.PIPE,
                        text=True)
    wait_until(server, lambda page: page["jobs_deferred"] == n,
               f"all to wait (--wait {options.wait} may be too short)")
    time.sleep(SETTLE_SECONDS)
    each = (server.private_dirty_bytes() - none) / n
    resident = server.resident_bytes() - none_resident
    page = server.metrics()
    if page["jobs_deferred"] != n:
        raise Failed(f"some were answered too early: --wait {options.wait} is "
                     f"too short")
    print(f"deferred     {page['jobs_deferred']} in flight on {WAITERS} "
          f"workers, {page['workers_busy']} of them busy")
    print(f"             {each:.0f} B a waiting request "
          f"({met(each, BYTES_MOST_DEFERRED)}); resident "
          f"{resident / 2**20:.1f} MiB more than the "
          f"{none_resident / 2**20:.1f} MiB without any")
    output, _ = load.communicate(timeout=900)
    found = all_answered(options, output, load.returncode)
    bench.end(load)
    print(f"             {found['status']['200']} of {n} answered after "
          f"{options.wait}, the last {found['seconds']:.1f} s after the first "
          f"was sent; failed {found['requests']['failed']}, lost "
          f"{found['requests']['lost']}")
    bench.stop(server)
    return {"answered": found, "bytes_each": each, "resident_bytes": resident}


def refused(bench, options):
    """Exactly as many as have a place get in."""
    n = options.connections
    small = n <= DEFAULT_QUEUE + options.workers
    server = start(bench, options, "sleep:60s",
                   **({"QUEUE_SIZE": str(n // 6)} if small else {}))
    places = server.metrics()["queue_capacity"] + options.workers
    load = bench.launch(burst(options, server), stdout=subprocess.DEVNULL)
    wait_until(server, lambda page: page["requests_rejected"].get(
        "queue-full", 0) >= n - places, "all others to be told")
    time.sleep(SETTLE_SECONDS)
    page = server.metrics()
    admitted = page["queue_depth"] + page["workers_busy"]
    full = page["requests_rejected"].get("queue-full", 0)
    print(f"refused      {full} with 503 queue-full; admitted {admitted}, "
          f"places {places} (QUEUE_SIZE {page['queue_capacity']} + WORKERS "
          f"{options.workers})")
    retry = ask_when_full(server)
    print(f"             and told: Retry-After: {retry}")
    bench.end(load)
    bench.stop(server)
    if admitted != places or full != n - places:
        raise Failed(f"{places} should be in and {n - places} told: {page}")
    return admitted


def ask_when_full(server):
    """What one more is told."""
    request = urllib.request.Request(
        server.url("/"), servers.JOB_BODY,
        {"Content-Type": "application/json"})
    try:
        urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return error.headers["Retry-After"]
    raise Failed("one more was not told 503")


def parse_options():
    parser = argparse.ArgumentParser(
        prog="inflight.sh",
        description="Sends so many jobs at once, four times: all are "
        "answered; all are weighed while they wait; with the default queue "
        "all that find no place are refused; and all wait at once on four "
        "workers, are weighed, and answered.")
    servers.add_program_options(parser)
    parser.add_argument("-c", "--connections", type=int, default=60000)
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument(
        "--wait", default=WAIT,
        help=f"how long the jobs of the last run wait ({WAIT}); long enough "
        "for all to be sent")
    parser.add_argument(
        "--only", choices=("answered", "weighed", "refused", "deferred"),
        help="one of the four runs")
    parser.add_argument("--json", metavar="FILE", help="the figures")
    return parser.parse_args()


def main():
    options = parse_options()
    figures = {"connections": options.connections}
    with servers.Bench(options) as bench:
        servers.check_programs(options, "load", "hcsd")
        if options.only in (None, "answered"):
            figures["answered"] = answered(bench, options)
        if options.only in (None, "weighed"):
            figures["bytes_each"], figures["stack_bytes"] = weighed(
                bench, options)
        if options.only in (None, "refused"):
            figures["admitted"] = refused(bench, options)
        if options.only in (None, "deferred"):
            figures["deferred"] = deferred(bench, options)
    if options.json:
        servers.write_figures(options.json, figures)
    return 0


if __name__ == "__main__":
    servers.run_main(main)
