"""What grows with the number of connections, and what does not; see README.md.
"""

import contextlib
import os
import time

import memory
import million
import servers
from servers import Failed, say

STEPS = (1000, 10000, 100000, 1000000)
QUICK_STEPS = (200, 1000)
BYTES_EACH = million.KERNEL_BYTES + million.CLIENT_BYTES + million.HCSD_BYTES
CLOSE_PATIENCE = 600
FRESH_RATE = 100  # new clients a second
IDLE_SECONDS = 10
FRESH_SECONDS = 10


def read_number(path):
    """The first number in a file of /proc; None where there is no such file."""
    try:
        with open(path) as file:
            return int(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def most_connections():
    """How many this machine can hold, both ends of them, and what bounds it.
    Descriptors bound neither hcsd, whose loops have a table each, nor the
    client, which has as many processes as it takes."""
    bounds = [(million.available_bytes() // BYTES_EACH, "memory")]
    files = read_number("/proc/sys/fs/file-max")
    if files is not None:
        used = read_number("/proc/sys/fs/file-nr") or 0
        bounds.append(((files - used) // 2, "fs.file-max"))
    tracked = read_number("/proc/sys/net/netfilter/nf_conntrack_max")
    if tracked is not None:
        bounds.append((tracked // 2, "net.netfilter.nf_conntrack_max"))
    return min(bounds)


def choose_steps(wanted):
    """The steps that fit; the first that does not is lowered to what does."""
    most, what = most_connections()
    steps = []
    for step in sorted(wanted):
        if step > most:
            lowered = most // 1000 * 1000
            say(f"{what} allows for {lowered} connections, not {step}")
            if lowered > (steps[-1] if steps else 0):
                steps.append(lowered)
            return steps, f"{step} connections were not tried: {what} allows " \
                          f"for {lowered}"
        steps.append(step)
    return steps, None


def loops_for(connections):
    room = servers.descriptor_limit() - million.SPARE_DESCRIPTORS
    return max(len(os.sched_getaffinity(0)), -(-connections // room))


def await_connections(server, wanted, patience):
    """By the daemon's own count: the kernel's list of a million sockets takes
    seconds to read."""
    end = time.monotonic() + patience
    while True:
        try:
            # But for the one that asks.
            there = server.metrics()["active_connections"] - 1
        except (OSError, ValueError) as error:
            raise Failed(f"{server.name}: /metrics: {error}") from None
        if there == wanted:
            return
        if time.monotonic() > end:
            raise Failed(f"{server.name}: {there} connections instead of "
                         f"{wanted}")
        time.sleep(0.05)


def hold(bench, connections, options):
    """One server with so many connections: what they weigh, how long it took
    to open them, what it costs to have them, and how long a newcomer waits."""
    loops = loops_for(connections)
    server = bench.start("hcsd", loops=loops, environment={
        "IDLE_TIMEOUT": "1h",
        "MAX_CONNECTIONS": str(connections + 1000),
    })
    time.sleep(memory.SETTLE_SECONDS)
    none = server.private_dirty_bytes()
    began = time.monotonic()
    # It is there when every connection has been answered once.
    holder = memory.Holder(bench, server, servers.GET_HEALTH, connections)
    open_seconds = time.monotonic() - began
    await_connections(server, connections, memory.CLOSE_SECONDS)
    time.sleep(memory.SETTLE_SECONDS)
    held = server.private_dirty_bytes()
    idle = server.cpu_seconds()
    time.sleep(options.idle_seconds)
    idle = server.cpu_seconds() - idle
    fresh = bench.offer(
        server, "churn", "/health", "-c", "64", "-r", str(FRESH_RATE), "-d",
        f"{round(options.fresh_seconds * 1000)}ms", timeout=300)
    await_connections(server, connections, memory.CLOSE_SECONDS)
    began = time.monotonic()
    holder.release(CLOSE_PATIENCE)
    await_connections(server, 0, CLOSE_PATIENCE)
    close_seconds = time.monotonic() - began
    after = server.private_dirty_bytes()
    bench.stop(server)
    return {
        "connections": connections, "loops": loops, "start_bytes": none,
        "held_bytes": held, "after_bytes": after,
        "bytes_each": (held - none) / connections,
        "open_seconds": open_seconds, "close_seconds": close_seconds,
        "idle_cores": idle / options.idle_seconds, "fresh": fresh,
    }


def raised_limits(connections):
    """The kernel's own limits, raised for the while where we may."""
    if os.geteuid() == 0:
        return million.Sysctls(connections)
    return contextlib.nullcontext()


def measure(bench, rounds, options):
    wanted = QUICK_STEPS if options.quick else STEPS
    runs = []
    failures = []
    with raised_limits(max(wanted)):
        steps, limit = choose_steps(wanted)
        for number in range(1, rounds + 1):
            for connections in steps:
                say(f"round {number} of {rounds}: {connections} connections")
                try:
                    runs.append({"round": number,
                                 **hold(bench, connections, options)})
                except Failed as error:
                    failures.append(
                        f"round {number}, {connections} connections: {error}")
                    say(failures[-1])
    return {"rounds": rounds, "fresh_rate": FRESH_RATE,
            "fresh_seconds": options.fresh_seconds,
            "idle_seconds": options.idle_seconds, "limit": limit,
            "runs": runs, "failures": failures}
