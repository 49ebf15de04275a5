"""Where the instructions of a request go: callgrind's account of each
instruction, added up by the function that it was written in.

With link-time optimisation half of the functions are gone into their callers,
so the account is taken by address, and what each address was made from is read
from the debug information (addr2line -i), the innermost inlined function first.
"""

import collections
import os
import subprocess

from servers import Failed, TOP

CALLGRIND_OPTIONS = (
    "--dump-instr=yes", "--compress-strings=no", "--compress-pos=no")
SHOWN_FROM = 25  # instructions per request, in any column
LIBRARIES = "C library"

# The first that a file's path ends with; a folder ends with "/".
GROUPS = (
    ("llhttp", ("/llhttp.c", "/api.c", "/http.c")),
    ("header section: raw check and meaning", (
        "src/http/head.c", "src/http/head_scan.c", "src/http/octets.h",
        "src/http/method.h", "src/http/target.c", "src/http/target.h",
        "src/http/request_head.h")),
    ("route", ("src/job/router.c",)),
    ("connection: read, states, send", (
        "src/shard/conn.c", "src/shard/conn_read.c", "src/shard/conn_write.c",
        "src/shard/conn_state.c", "src/shard/conn_state.h",
        "src/shard/transport.c", "src/base/counter.h")),
    ("request record", (
        "src/job/request.c", "src/job/request.h", "src/base/slab.c",
        "src/guard/budget.c")),
    ("queue, wake-ups, results", (
        "src/sync/", "src/shard/run.c", "src/shard/shard.h",
        "src/guard/gate.c")),
    ("job: JSON", (
        "src/base/json.c", "src/base/json_escape.c", "src/base/json_members.c",
        "src/base/json_scan.h")),
    ("job: worker and handler", (
        "src/job/job.c", "src/job/tree.c", "src/job/worker.c",
        "src/handlers/", "src/base/arena.c")),
    ("reply", (
        "src/shard/conn_reply.c", "src/shard/exchange.c", "src/shard/pages.c",
        "src/shard/shard.c", "src/shard/access_log.c", "src/http/response.c",
        "src/base/text.c",
        "src/base/random.c", "src/base/clock.c", "src/shard/snapshot.c",
        "src/base/log.c")),
    ("loop and timers", ("src/event/",)),
)


def check_groups():
    """A source that moved would be counted among the rest, unseen."""
    gone = [member for _, members in GROUPS for member in members
            if member.startswith("src/") and
            not os.path.exists(os.path.join(TOP, member))]
    if gone:
        raise Failed("bench/functions.py names what is gone: " +
                     ", ".join(gone))


def group_of(path):
    for name, members in GROUPS:
        for member in members:
            if path.endswith(member) or (
                    member.endswith("/") and member in path):
                return name
    return None


def read_account(path):
    """Instructions by (object, function, address), without what was called."""
    costs = collections.Counter()
    program = function = None
    skip = False
    with open(path) as file:
        for line in file:
            if line.startswith("ob="):
                program = line[3:].strip()
            elif line.startswith("fn="):
                function = line[3:].strip()
            elif line.startswith("calls="):
                skip = True  # the next line is the cost of the callee
            elif line.startswith("0x"):
                if not skip:
                    address, _, cost = line.split()[:3]
                    costs[program, function, int(address, 16)] += int(cost)
                skip = False
    return costs


def read_frames(program, addresses):
    """Of each address the functions that it lies in, as (name, path) from the
    innermost out."""
    listing = "".join(f"{address:#x}\n" for address in addresses)
    try:
        output = subprocess.run(
            ["addr2line", "-a", "-f", "-i", "-e", program], input=listing,
            capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError) as error:
        raise Failed(f"addr2line: {error}") from error
    frames = {}
    lines = iter(output)
    for line in lines:
        if line.startswith("0x"):
            current = frames.setdefault(int(line, 16), [])
        else:
            path = next(lines).split(" ")[0].rpartition(":")[0]
            current.append((line.partition(".")[0], path))
    return frames


def known_groups(frames):
    """Groups by function. Of some instructions the optimiser keeps the name,
    and for the path it writes <artificial>."""
    groups = {}
    for stack in frames.values():
        for name, path in stack:
            group = group_of(path)
            if group is not None:
                groups[name] = group
    return groups


def place(stack, groups):
    """(group, function): the innermost that is not from a system's header."""
    for name, path in stack:
        group = group_of(path)
        if group is None and path.endswith("<artificial>"):
            group = groups.get(name)
        if group is not None:
            return group, name
    return "the rest", stack[0][0] if stack else "??"


def attribute(program, few, many, requests):
    """Instructions per request by (group, function), of two accounts of which
    the second has so many requests more."""
    costs = {key: (cost - few.get(key, 0)) / requests
             for key, cost in many.items()}
    addresses = sorted({address for (where, _, address) in costs
                        if where == program})
    frames = read_frames(program, addresses)
    groups = known_groups(frames)
    if not groups:
        raise Failed(
            f"{program} has no line numbers; cmake --preset profile && "
            "cmake --build --preset profile, and --hcsd build-profile/hcsd")
    sums = collections.Counter()
    for (where, function, address), cost in costs.items():
        if where == program:
            sums[place(frames.get(address, ()), groups)] += cost
        else:
            sums[LIBRARIES, function.partition("@")[0]] += cost
    return sums


def table(columns):
    """Lines of a table: groups, and in each its functions, the dearest of the
    last column first. columns: sums by label."""
    last = list(columns.values())[-1]
    groups = collections.defaultdict(set)
    for sums in columns.values():
        for group, function in sums:
            groups[group].add(function)

    def total(sums, group):
        return sum(sums[group, function] for function in groups[group])

    yield f"{'':42}" + "".join(f"{label:>14}" for label in columns)
    yield row("all", [sum(sums.values()) for sums in columns.values()])
    for group in sorted(groups, key=lambda name: -total(last, name)):
        costs = [total(sums, group) for sums in columns.values()]
        if max(costs) < 1:
            continue
        yield row(group, costs)
        small = [0] * len(columns)
        for function in sorted(
                groups[group], key=lambda name: -last[group, name]):
            costs = [sums[group, function] for sums in columns.values()]
            if max(costs) >= SHOWN_FROM:
                yield row(f"    {function}", costs)
            else:
                small = [a + b for a, b in zip(small, costs)]
        if max(small) >= SHOWN_FROM:
            yield row("    smaller ones", small)


def row(label, costs):
    return f"{label:42}" + "".join(f"{cost:14.0f}" for cost in costs)
