"""Latency at a rate that does not wait for the server; see README.md.

Every request has a moment at which it is due, and its latency counts from
there, whether or not the server let the client send it in time. A client that
waits for an answer before it asks again (as wrk does) asks less while the
server stalls, and so hardly sees the stall.
"""

import dataclasses
import random
import statistics

import compare
import servers
from servers import Failed, say

CONNECTIONS = 64
WARM_UP_REQUESTS = 200  # on each connection; no part of the measure
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of hcsd's capacity
QUICK_SHARES = (0.25, 0.5)
HALF = 0.5
PERCENTILES = ("p50", "p99", "p99.9")
AGAIN = "-again"  # the same server a second time: what noise looks like

FIRST_RATE = 1000  # where the search begins
LOWEST_RATE = 10
HIGHEST_RATE = 4000000
# Half of the requests wait no longer than this as long as a server keeps up. It
# takes an overload of one percent half a second to get there.
KEEPS_UP_US = 5000


@dataclasses.dataclass(frozen=True)
class Search:
    seconds: float  # of each run
    bisections: int
    tries: int  # of a rate: a stall that is not the server's hardly comes twice


CAREFUL = Search(seconds=2, bisections=5, tries=2)
QUICK = Search(seconds=0.4, bisections=1, tries=1)


def run_once(bench, label, rate, seconds, options):
    """One run at that rate, with a server started for it."""
    server = bench.start(label.replace(AGAIN, ""), cpu=options.server_cpu)
    try:
        bench.ask(server, servers.POST_JOB, connections=CONNECTIONS,
                  requests=WARM_UP_REQUESTS, cpu=options.client_cpu)
        client = servers.children_cpu_seconds()
        clock = compare.Clock(server)
        said = bench.offer(
            server, "rate", "/", "-c", str(CONNECTIONS), "-r", str(rate),
            "-d", f"{round(seconds * 1000)}ms", "--timeout", "10s",
            "--body", servers.JOB_BODY.decode(), cpu=options.client_cpu,
            timeout=20 * seconds + 60)
        spent, others = clock.stop()
        client = servers.children_cpu_seconds() - client
        return {"server": label, "offered": rate, "load": said,
                "server_cores": spent / said["seconds"],
                "client_cores": client / said["seconds"], "others": others}
    except OSError as error:
        raise Failed(f"{label} is gone: {error}; "
                     f"{server.last_words()}") from None
    finally:
        bench.stop(server)


def kept_up(run):
    """Whether every request was answered, and half of them at once."""
    requests = run["load"]["requests"]
    return (requests["answered"] == requests["due"] and
            run["load"]["latency_us"]["p50"] <= KEEPS_UP_US)


def rounded(rate):
    """To three digits: nobody reads more."""
    scale = 10 ** max(0, len(str(round(rate))) - 3)
    return round(rate / scale) * scale


def find_capacity(bench, options):
    """The highest rate that hcsd keeps up with: doubled until it does not, and
    then the middle of what is left, on a scale of ratios. And how busy server
    and client were: the client may be the one that is full."""
    last = None  # run that was kept up with

    def is_kept(rate):
        nonlocal last
        for _ in range(search.tries):
            run = run_once(bench, "hcsd", rate, search.seconds, options)
            if kept_up(run):
                last = run
                return True
        return False

    search = QUICK if options.quick else CAREFUL
    say("looking for the rate that hcsd keeps up with")
    low = FIRST_RATE
    while not is_kept(low):
        low //= 2
        if low < LOWEST_RATE:
            raise Failed("hcsd keeps up with no rate at all: the machine is "
                         "busy, or something is wrong")
    while low * 2 <= HIGHEST_RATE and is_kept(low * 2):
        low *= 2
    high = low * 2
    for _ in range(search.bisections):
        middle = rounded((low * high) ** 0.5)
        if is_kept(middle):
            low = middle
        else:
            high = middle
    say(f"it keeps up with {low} a second")
    return {"rate": low, "server_cores": last["server_cores"],
            "client_cores": last["client_cores"]}


def measure(bench, points, seconds, rounds, options):
    """Runs of each point, a label and a rate, in each round; in another order
    each time, so that a drift of the machine meets all of them."""
    runs = []
    failures = []
    for number in range(1, rounds + 1):
        say(f"round {number} of {rounds}")
        for label, rate in random.sample(points, len(points)):
            try:
                run = run_once(bench, label, rate, seconds, options)
                runs.append({"round": number, **run})
            except Failed as error:
                failures.append(
                    f"round {number}, {label} at {rate}: {error}")
                say(failures[-1])
    return runs, failures


def measure_curve(bench, kinds, capacity, rounds, options):
    """Latency against the offered rate, the same rates for all: one that cannot
    keep up shows as a wall."""
    labels = list(kinds)
    if "hcsd" in kinds:
        labels.append(f"hcsd{AGAIN}")
    shares = QUICK_SHARES if options.quick else SHARES
    points = [(label, rounded(capacity["rate"] * share))
              for label in labels for share in shares]
    runs, failures = measure(bench, points, options.run_seconds, rounds,
                             options)
    return {"capacity": capacity, "connections": CONNECTIONS,
            "seconds": options.run_seconds, "rounds": rounds, "runs": runs,
            "failures": failures}


def measure_versus(bench, kinds, capacity, rounds, options):
    """hcsd and the Go server at half of hcsd's capacity, each twice."""
    labels = [f"{kind}{again}" for kind in ("hcsd", "go") if kind in kinds
              for again in ("", AGAIN)]
    rate = rounded(capacity["rate"] * HALF)
    runs, failures = measure(bench, [(label, rate) for label in labels],
                             options.run_seconds, rounds, options)
    return {"capacity": capacity, "offered": rate, "connections": CONNECTIONS,
            "seconds": options.run_seconds, "rounds": rounds, "runs": runs,
            "failures": failures}


# --- What the raw numbers say.


def latencies(raw, label, rate, percentile):
    """Of each run that had an answer."""
    return [run["load"]["latency_us"][percentile] for run in raw["runs"]
            if run["server"] == label and run["offered"] == rate and
            run["load"]["requests"]["answered"] > 0]


def labels_of(raw):
    return sorted({run["server"] for run in raw["runs"]})


def rates_of(raw):
    return sorted({run["offered"] for run in raw["runs"]})


def kept_up_in_most(raw, label, rate):
    verdicts = [kept_up(run) for run in raw["runs"]
                if run["server"] == label and run["offered"] == rate]
    return bool(verdicts) and statistics.mean(verdicts) > 0.5


def round_ratios(raw, label, reference, percentile):
    """Of each round in which both had an answer."""
    def by_round(name):
        return {run["round"]: run["load"]["latency_us"][percentile]
                for run in raw["runs"] if run["server"] == name and
                run["load"]["requests"]["answered"] > 0}

    over, under = by_round(label), by_round(reference)
    return [over[number] / under[number] for number in sorted(over)
            if number in under]
