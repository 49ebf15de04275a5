#!/usr/bin/env python3
"""Checks the models of the wake-up protocol with spin.

    tests/model/check.py [-k NAME] [--jobs N] [--keep FOLDER] [--operations]

Each model has to be free of errors in an exhaustive search. Then one thing at a
time is taken away from it, an ordering or a step. Each of these mutations has to
be found, or the model would not see what the code relies on. The mutations under
"spare" take away what the protocol does not need. They have to pass, so that the
list stays true.

Before that, models and sources are compared. Each [tag] of the models is in the
sources, and back. Each atomic operation of the modelled sources is as
operations.txt says that it was when the models were written; --operations prints
what the file should say. And each source that uses atomics is either modelled
(MODELLED) or has a reason not to be (UNMODELLED).

Exit status: 0, 1 when something is not as it should be, 77 without spin or cc.
"""

import argparse
import collections
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
SKIPPED = 77
DEPTH = 200000
MEMORY_MB = 1500
PATIENCE_S = 900  # a run that takes longer has lost its way

# What a model is run with: the whole, the mutations that have to be found, and
# what is to spare. Words joined by "+" go together.
Plan = collections.namedtuple("Plan", "model needed spare")

PLANS = [
    Plan(
        "mailbox",
        "NO_PUT_RELEASE NO_TAKE_ACQUIRE NO_COMMAND_RELEASE NO_COMMAND_ACQUIRE NO_BELL_ORDER"
        " NO_RING RING_BEFORE_PUT NO_PAY_BEFORE_PARKING COMMAND_RINGS_FIRST"
        " SLEEP_WITHOUT_LOOK SLEEP_LOOKS_THEN_STORES FLAG_BESIDE",
        "FLAG_BESIDE+FLAG_IS_SEQ_CST",
    ),
    Plan(
        "parking",
        "NO_ANNOUNCE_ACQUIRE NO_LEAVE_ACQUIRE NO_WAKE_RELEASE NO_FILL_RELEASE NO_EMPTY_ACQUIRE"
        " NO_WAKE NO_SECOND_LOOK NO_CHAIN LEAVE_KEEPS_WAKING WAKE_KEEPS_EPOCH WAKE_ONLY_LOOKS",
        "",
    ),
    Plan(
        "parking+STOPS_EARLY",
        "NO_ANNOUNCE_ACQUIRE NO_WAKE_ALL_RELEASE NO_STOPPING_RELEASE NO_STOPPING_ACQUIRE"
        " STOPPING_AFTER_LOOK STOP_WAKES_FIRST",
        "NO_ANNOUNCE_RELEASE+NO_LEAVE_RELEASE+NO_WAKE_ACQUIRE+NO_WAKE_ALL_ACQUIRE",
    ),
    Plan(
        "queue",
        "NO_FILL_ACQUIRE NO_FILL_RELEASE NO_EMPTY_ACQUIRE NO_EMPTY_RELEASE"
        " POP_LOOKS_THEN_STORES CANCEL_LOOKS_THEN_STORES",
        "NO_POP_ACQUIRE+NO_POP_RELEASE+NO_CANCEL_ACQUIRE+NO_CANCEL_RELEASE+NO_LOOK_ACQUIRE",
    ),
    Plan(
        "queue+LIVING",
        "NO_FILL_ACQUIRE NO_EMPTY_RELEASE CANCEL_LOOKS_THEN_STORES SWEEP_DROPS_LIVING",
        "",
    ),
    Plan("queue+BY_ITSELF", "NO_SWEEP", ""),
    Plan(
        "detach",
        "NO_FILL_RELEASE NO_EMPTY_ACQUIRE NO_PUT_RELEASE NO_TAKE_ACQUIRE"
        " POP_LOOKS_THEN_STORES CANCEL_LOOKS_THEN_STORES CONN_STAYS FREE_AT_DETACH FINI_ALWAYS"
        " DEAD_ENTRY_IS_DROPPED",
        "NO_POP_ACQUIRE+NO_POP_RELEASE+NO_CANCEL_ACQUIRE+NO_CANCEL_RELEASE",
    ),
    Plan(
        "accept",
        "LEAVES_SILENTLY ASKS_FIRST ATTENDS_WITHOUT_A_LOOK ONLY_WHO_RESTS_COMES STOPS_EARLY"
        " LOOKS_THEN_WAITS+ADD_TELLS_NOTHING",
        "ADD_TELLS_NOTHING LOOKS_THEN_WAITS",
    ),
    Plan(
        "deferral",
        "NO_RETURNED_ACQUIRE NO_RETURNED_RELEASE NO_DONE_ACQUIRE NO_DONE_RELEASE"
        " NO_ABANDON_ACQUIRE NO_TOKEN_RELEASE NO_TOKEN_ACQUIRE NO_GIVE_RELEASE"
        " NO_TAKE_SLOT_ACQUIRE NO_BLOCK_RELEASE NO_BLOCK_ACQUIRE HANDED_RELAXED"
        " OPEN_LOOKS_THEN_STORES RETURNED_LOOKS_THEN_STORES WITHDRAW_LOOKS_THEN_STORES"
        " CLAIM_LOOKS_THEN_STORES DONE_LOOKS_THEN_STORES ABANDON_LOOKS_THEN_STORES"
        " ABANDON_STATE_LOOKS_THEN_STORES SAME_GENERATION ANY_GENERATION FREE_LOOKS_OPEN"
        " RETURNED_IGNORES_DONE RETURNED_IGNORES_CLAIM DONE_IGNORES_RUN ABANDON_IGNORES_RUN"
        " ABANDON_IGNORES_CLAIM",
        "NO_OPEN_RELEASE+NO_CLAIM_ACQUIRE+NO_CLAIM_RELEASE+NO_WITHDRAW_ACQUIRE"
        "+NO_WITHDRAW_RELEASE+NO_ABANDON_RELEASE+NO_DEAD_RELEASE",
    ),
    Plan(
        "slots",
        "NO_PUSH_RELEASE NO_TOP_ACQUIRE NO_COUNT",
        "NO_POP_ACQUIRE+COUNTS_GIVEN_ALONE",
    ),
    Plan(
        "whole",
        "NO_PUT_RELEASE NO_TAKE_ACQUIRE NO_BELL_ORDER NO_COMMAND_RELEASE NO_COMMAND_ACQUIRE"
        " NO_FILL_RELEASE NO_EMPTY_ACQUIRE NO_ANNOUNCE_ACQUIRE NO_WAKE_RELEASE"
        " NO_WAKE_ALL_RELEASE NO_WAKE NO_SECOND_LOOK NO_PAY_BEFORE_PARKING"
        " SLEEP_LOOKS_THEN_STORES STOP_WAKES_FIRST POP_LOOKS_THEN_STORES"
        " CANCEL_LOOKS_THEN_STORES",
        "NO_ANNOUNCE_RELEASE+NO_LEAVE_RELEASE+NO_WAKE_ACQUIRE+NO_WAKE_ALL_ACQUIRE"
        "+NO_POP_ACQUIRE+NO_POP_RELEASE+NO_CANCEL_ACQUIRE+NO_CANCEL_RELEASE",
    ),
]

Job = collections.namedtuple("Job", "model words wanted")
Result = collections.namedtuple("Result", "verdict why states seconds")


# --- Models and sources.

# The sources of the wake-up protocol: their atomic operations are all listed in
# operations.txt.
MODELLED = [
    "src/sync/deferral.c",
    "src/sync/deferral.h",
    "src/sync/mailbox.c",
    "src/sync/parking.c",
    "src/sync/pool.c",
    "src/sync/queue.c",
    "src/shard/shard.c",
    "src/shard/acceptor.c",
    "src/shard/run.c",
    "src/shard/conn.c",
    "src/shard/conn_state.c",
    "src/job/job.c",
    "src/job/worker.c",
]

# The other sources that use atomics, and why no model needs them. A folder stands
# for all its files.
UNMODELLED = {
    "src/app/": "samples and flags of the main thread, which no thread waits for",
    "src/base/counter.h": "counts, which publish nothing else",
    "src/base/log.c": "a count of dropped lines",
    "src/guard/gate.c": "counts, which publish nothing else",
    "src/guard/budget.c": "sums of bytes, which publish nothing else",
    "src/handlers/": "stop flags that are seq_cst or under a lock, and counts",
    "src/job/mount.c": "metrics of handlers, which publish nothing else",
    "src/shard/snapshot.c": "samples for a page, of no one instant",
    "src/shard/service.h": "is_open: one release store and its acquire",
}
ATOMIC = re.compile(r"\batomic_(?!init)([a-z_]+?)(?:_explicit)?\(")
TAG = re.compile(r"(?<![\w\])])\[([a-z]+(?:\.[a-z_]+)?)\]")  # and no index


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def strip_comments(text):
    """The same without comments, every line where it was."""
    return re.sub(
        r"/\*.*?\*/", lambda match: re.sub(r"[^\n]", " ", match.group()), text, flags=re.DOTALL
    )


def arguments(text, at):
    """What stands between the bracket at this place and its other half."""
    depth = 0
    for end in range(at, len(text)):
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        if depth == 0:
            return text[at + 1 : end]
    raise ValueError("a bracket without its other half")


def sources_with_atomics():
    found = set()
    for folder, _, names in os.walk(os.path.join(TOP, "src")):
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith((".c", ".h")) and ATOMIC.search(strip_comments(read(path))):
                found.add(os.path.relpath(path, TOP))
    return found


def compare_lists():
    """What MODELLED and UNMODELLED do not say, or say wrongly, as lines."""
    found = sources_with_atomics()
    listed = set(MODELLED) | set(UNMODELLED)
    complaints = ["%s is both in MODELLED and in UNMODELLED" % path
                  for path in sorted(set(MODELLED) & set(UNMODELLED))]

    for path in sorted(listed):
        if not any(source == path or (path.endswith("/") and source.startswith(path))
                   for source in found):
            complaints.append("%s is listed in check.py, but is gone or has no atomics" % path)
    for source in sorted(found - listed):
        if not any(path.endswith("/") and source.startswith(path) for path in listed):
            complaints.append("%s has atomics: add it to MODELLED or, with a reason, to"
                              " UNMODELLED in check.py" % source)
    return complaints


def operations():
    """One line for each atomic operation of the modelled sources."""
    found = []
    for source in MODELLED:
        text = strip_comments(read(os.path.join(TOP, source)))
        for match in ATOMIC.finditer(text):
            inside = arguments(text, match.end() - 1)
            heads = re.findall(r"^[a-z][^;\n]*?\b([a-z_0-9]+)\([^;]*?^\{", text[: match.start()],
                               flags=re.DOTALL | re.MULTILINE)
            orders = re.findall(r"memory_order_([a-z_]+)", inside) or ["seq_cst"]
            place = re.sub(r"\s+", "", inside.split(",")[0]).lstrip("&")
            found.append(" ".join([source, heads[-1], match.group(1), place] + orders))
    return found


def compare_with_sources():
    """What differs, as lines."""
    complaints = []
    expected = []
    in_models = {}
    in_sources = {}

    for line in read(os.path.join(HERE, "operations.txt")).splitlines():
        if line and not line.startswith("#"):
            expected.append(line.split(" | ")[0].strip())
            tag = line.split(" | ")[1].strip()
            if TAG.fullmatch(tag):
                in_sources.setdefault(TAG.fullmatch(tag).group(1), "operations.txt")
    found = operations()
    left = collections.Counter(expected)
    left.subtract(found)
    for line, count in sorted(left.items()):
        if count > 0:
            complaints.append("operations.txt has, and the sources have not: " + line)
        elif count < 0:
            complaints.append("the sources have, and operations.txt has not: " + line)

    for name in sorted(os.listdir(HERE)):
        if name.endswith((".pml", ".inc")):
            for tag in TAG.findall(read(os.path.join(HERE, name))):
                in_models.setdefault(tag, name)
    for source in MODELLED:
        for tag in TAG.findall(read(os.path.join(TOP, source))):
            in_sources.setdefault(tag, source)
    for tag in sorted(set(in_models) - set(in_sources)):
        complaints.append("[%s] is in %s, but in no source" % (tag, in_models[tag]))
    for tag in sorted(set(in_sources) - set(in_models)):
        complaints.append("[%s] is in %s, but in no model" % (tag, in_sources[tag]))
    return complaints


def unknown_words():
    """Mutations that no model knows: they would change nothing."""
    known = set()
    for name in os.listdir(HERE):
        if name.endswith((".pml", ".inc")):
            for line in read(os.path.join(HERE, name)).splitlines():
                if line.startswith("#if"):
                    known.update(re.findall(r"\w+", line))
    wanted = set()
    for plan in PLANS:
        wanted.update(plan.model.split("+")[1:])
        wanted.update(re.split(r"[ +]+", plan.needed + " " + plan.spare))
    return sorted(wanted - known - {""})


# --- Runs.


def run(command, folder):
    return subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        universal_newlines=True, timeout=PATIENCE_S, check=False,
    )


def judge(output):
    """The verdict and why, from what the verifier printed."""
    errors = re.search(r"errors: (\d+)", output)
    why = re.search(r"^pan:\d+: (.*?) \(at depth", output, flags=re.MULTILINE)
    if errors is None:
        return "broken", output.strip().splitlines()[-1] if output.strip() else "no output"
    if int(errors.group(1)) > 0:
        why = why.group(1) if why else "?"
        if "the_model_is_too_small" in why:
            return "broken", "the model is too small for the run"
        if why == "invalid end state":
            return "found", "stuck"
        return ("found", "race") if "has[_pid]" in why else ("found", "claim")
    for bad in ("max search depth too small", "reached -DMEMLIM", "out of memory",
                "Search not completed", "Bit statespace"):
        if bad in output:
            return "truncated", bad
    if "Full statespace search" not in output:
        return "broken", "no full search"
    return "free", ""


def check(job, keep):
    started = time.monotonic()
    name = "-".join([job.model] + job.words)
    folder = os.path.join(keep, name) if keep else tempfile.mkdtemp(prefix="model-")
    os.makedirs(folder, exist_ok=True)
    try:
        for file in os.listdir(HERE):
            if file.endswith((".pml", ".inc")):
                shutil.copy(os.path.join(HERE, file), folder)
        steps = [
            ["spin", "-a"] + ["-D" + word for word in job.words] + [job.model + ".pml"],
            # Optimising these takes longer than what it saves.
            ["cc", "-w", "-O0", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=%d" % MEMORY_MB,
             "-o", "pan", "pan.c"],
        ]
        for step in steps:
            done = run(step, folder)
            if done.returncode != 0 or "rror:" in done.stdout:
                return Result("broken", done.stdout.strip(), 0, time.monotonic() - started)
        done = run(["./pan", "-m%d" % DEPTH], folder)
        verdict, why = judge(done.stdout)
        states = re.search(r"(\d+) states, stored", done.stdout)
        if keep:
            with open(os.path.join(folder, "pan.out"), "w", encoding="utf-8") as file:
                file.write(done.stdout)
        return Result(verdict, why, int(states.group(1)) if states else 0,
                      time.monotonic() - started)
    except subprocess.TimeoutExpired:
        return Result("truncated", "too slow", 0, time.monotonic() - started)
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def all_jobs():
    jobs = []
    for plan in PLANS:
        model, *words = plan.model.split("+")
        jobs.append(Job(model, words, "free"))
        jobs += [Job(model, words + more.split("+"), "found") for more in plan.needed.split()]
        jobs += [Job(model, words + more.split("+"), "free") for more in plan.spare.split()]
    return jobs


def shortened(words):
    text = " ".join(words) or "-"
    return text if len(text) <= 42 else text[:34] + "... (%d)" % len(words)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-k", metavar="NAME", default="", help="only runs whose name has this")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--keep", metavar="FOLDER", help="leave verifiers and trails there")
    parser.add_argument("--operations", action="store_true", help="print, and check nothing")
    options = parser.parse_args()

    if options.operations:
        print("\n".join(operations()))
        return 0
    complaints = compare_lists()
    if not complaints:
        complaints += compare_with_sources()
    complaints += ["no model knows " + word for word in unknown_words()]
    for complaint in complaints:
        print(complaint)
    if shutil.which("spin") is None or shutil.which("cc") is None:
        print("no spin, or no C compiler: the models are not run")
        return 1 if complaints else SKIPPED

    failures = len(complaints)
    jobs = [job for job in all_jobs() if options.k in "+".join([job.model] + job.words)]
    layout = "%-8s %-42s %8s  %-7s %-9s %5s  %s"
    print(layout % ("model", "without", "states", "wanted", "verdict", "s", ""))
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        runs = pool.map(lambda job: check(job, options.keep), jobs)
        for job, result in zip(jobs, runs):
            good = result.verdict == job.wanted
            failures += not good
            print(layout % (
                job.model, shortened(job.words), result.states, job.wanted, result.verdict,
                "%.1f" % result.seconds, result.why if good else "WRONG: " + result.why,
            ))
            sys.stdout.flush()
    print("%d runs, %d not as they should be" % (len(jobs), failures))
    return 1 if failures or not jobs else 0


if __name__ == "__main__":
    sys.exit(main())
