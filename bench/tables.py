"""The tables of a report, from its raw numbers; see README.md."""

import statistics

import compare
import memory
import openloop
import plots

INTRODUCTION = """\
# What was measured

Written by `bench/report.sh`; [benchmarks.md](../benchmarks.md) says what it
means. A cell is the median of all rounds, with the lowest and the highest. What
each single run measured stands in the JSON files beside this one.
"""
FASTER = 2  # what is asked of the p99.9 of the Go server over hcsd's
FULL = 0.95  # of a core: a client as busy as this is late by itself, too
LATE = "An asterisk: the server did not keep up with the rate."


def table(head, rows):
    """Markdown. The first column is text, the others are numbers."""
    lines = ["| " + " | ".join(head) + " |",
             "|---" + "|---:" * (len(head) - 1) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def spread(values, show):
    """The median, and between what it lies."""
    middle = show(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({show(min(values))} – {show(max(values))})"


def duration(microseconds):
    for unit, scale in (("µs", 1), ("ms", 1e3), ("s", 1e6)):
        shown = microseconds / scale
        if shown < 999.5 or unit == "s":
            digits = 0 if shown >= 99.5 or unit == "µs" else (
                1 if shown >= 9.95 else 2)
            return f"{shown:.{digits}f} {unit}"
    raise AssertionError("not reached")


def ratio(value):
    return f"{value:.3f}"


def compare_tables(raw):
    runs = compare.runs_of(raw)
    rows = []
    for case in raw["cases"]:
        label = case["label"]
        good = [run for run in runs[label] if run is not None]
        if not good:
            rows.append([label, "failed", "", "", "", "0"])
            continue
        over = compare.ratios(runs, label, "floor", "cpu_us")
        rows.append([
            label,
            f"{statistics.median(run.rate for run in good):.0f}",
            f"{statistics.median(run.p50_us for run in good):.0f}",
            f"{statistics.median(run.cpu_us for run in good):.2f}",
            spread(over, ratio) if over and label != "floor" else "1",
            str(len(good))])
    yield table(["", "requests/s", "p50, µs", "CPU a request, µs",
                 "over the floor's", "rounds"], rows)
    line = compare.noise_line(runs)
    if line is not None:
        yield f"{line[0].upper()}{line[1:]}."
    bars = [[title, ratio(value), asked, verdict]
            for title, value, asked, verdict in compare.judge(runs)]
    if bars:
        yield table(["", "ratio", "asked", ""], bars)
    yield from doubts([run.others for row in runs.values() for run in row
                       if run is not None])


def doubts(others):
    line = compare.others_line(others)
    if line is not None:
        yield f"**Doubtful:** {line}."


def client_doubts(raw):
    """Where part of the latency may be the client's own."""
    full = sorted({(run["server"], run["offered"]) for run in raw["runs"]
                   if run["client_cores"] > FULL})
    if full:
        yield ("The client was busy all the time, so that a part of the "
               "latency may be its own, in a run or more of: " + ", ".join(
                   f"{plots.name_of(label)} at {rate}"
                   for label, rate in full) + ".")


def capacity_line(capacity):
    line = f"hcsd keeps up with {capacity['rate']} requests a second"
    if "server_cores" not in capacity:
        return f"{line}, it was said."
    return (f"{line}; then it keeps its core busy for "
            f"{capacity['server_cores'] * 100:.0f} % of the time, and the "
            f"client its own for {capacity['client_cores'] * 100:.0f} %.")


def mark(raw, label, rate):
    return "" if openloop.kept_up_in_most(raw, label, rate) else "*"


def latency_tables(raw):
    labels = plots.in_order(openloop.labels_of(raw))
    yield (f"{capacity_line(raw['capacity'])} "
           f"{raw['connections']} connections, {raw['seconds']} s a run. "
           f"{LATE}")
    for percentile in openloop.PERCENTILES:
        rows = []
        for rate in openloop.rates_of(raw):
            row = [str(rate)]
            for label in labels:
                values = openloop.latencies(raw, label, rate, percentile)
                row.append(spread(values, duration) +
                           mark(raw, label, rate) if values
                           else "none answered")
            rows.append(row)
        yield table([f"{percentile} at requests/s",
                     *map(plots.name_of, labels)], rows)
    yield from client_doubts(raw)
    yield from doubts([run["others"] for run in raw["runs"]])


def versus_tables(raw):
    labels = plots.in_order(openloop.labels_of(raw))
    rate = raw["offered"]
    yield (f"{capacity_line(raw['capacity'])} Offered is half of it, {rate}; "
           f"{raw['connections']} connections, {raw['seconds']} s a run, "
           f"{raw['rounds']} rounds. {LATE}")
    rows = []
    for label in labels:
        found = [openloop.latencies(raw, label, rate, percentile)
                 for percentile in openloop.PERCENTILES]
        rows.append([plots.name_of(label) + mark(raw, label, rate)] + [
            spread(values, duration) if values else "none answered"
            for values in found])
    yield table(["", *openloop.PERCENTILES], rows)
    rows = []
    for label, reference in (("go", "hcsd"), ("go-again", "hcsd-again"),
                             ("hcsd-again", "hcsd"), ("go-again", "go")):
        ratios = openloop.round_ratios(raw, label, reference, "p99.9")
        if ratios:
            low, high = compare.median_interval(ratios)
            rows.append([
                f"{plots.name_of(label)} over {plots.name_of(reference)}",
                f"{statistics.median(ratios):.2f}", f"{low:.2f} – {high:.2f}",
                f"{min(ratios):.2f} – {max(ratios):.2f}"])
    yield table(["p99.9, ratio of a round", "median", "95 % of the median",
                 "all"], rows)
    ratios = openloop.round_ratios(raw, "go", "hcsd", "p99.9")
    if ratios:
        low, high = compare.median_interval(ratios)
        verdict = "inconclusive"
        if len(ratios) >= compare.FEW and low >= FASTER:
            verdict = "met"
        elif len(ratios) >= compare.FEW and high < FASTER:
            verdict = "missed"
        yield (f"Asked: the Go server's p99.9 is at least {FASTER} times "
               f"hcsd's: {statistics.median(ratios):.2f}, {verdict}.")
    yield from client_doubts(raw)
    yield from doubts([run["others"] for run in raw["runs"]])


def memory_tables(raw):
    rows = [[weight["label"], f"{weight['bytes_each']:.0f}",
             memory.mib(weight["start_bytes"]),
             " ".join(map(memory.mib, weight["held_bytes"])),
             " ".join(map(memory.mib, weight["after_bytes"]))]
            for weight in raw["weights"]]
    yield f"{raw['connections']} connections, idle after one request each."
    yield table(["", "bytes each", "at start, MiB", "held, MiB",
                 "after, MiB"], rows)


def scaling_tables(raw):
    rows = []
    for connections in sorted({run["connections"] for run in raw["runs"]}):
        runs = [run for run in raw["runs"]
                if run["connections"] == connections]

        def cell(value, show, among=runs):
            return spread([value(run) for run in among], show)

        rows.append([
            f"{connections}", str(runs[0]["loops"]),
            cell(lambda run: run["bytes_each"], lambda x: f"{x:.0f}"),
            cell(lambda run: run["open_seconds"], lambda x: f"{x:.1f}"),
            cell(lambda run: run["fresh"]["latency_us"]["p50"], duration),
            cell(lambda run: run["fresh"]["latency_us"]["p99"], duration),
            cell(lambda run: run["idle_cores"] * 100, lambda x: f"{x:.2f}"),
            cell(lambda run: run["close_seconds"], lambda x: f"{x:.1f}")])
    yield table(["connections", "loops", "bytes each", "seconds to open all",
                 "/health, new client, p50", "p99", "idle, % of a core",
                 "seconds to close all"], rows)
    if raw["limit"] is not None:
        yield f"{raw['limit'][0].upper()}{raw['limit'][1:]}."


def queue_tables(raw):
    shapes = plots.queue_shapes(raw)
    rows = [[plots.queue_name(queue)] + [
        spread(plots.queue_times(raw, queue, shape), lambda x: f"{x:.1f}")
        for shape in shapes] for queue in plots.queue_kinds(raw)]
    yield (f"Nanoseconds an item, a push and a pop; {raw['capacity']} places, "
           f"{raw['milliseconds']} ms a run, {raw['repetitions']} runs.")
    yield table(["producers + consumers",
                 *(f"{shape} + {shape}" for shape in shapes)], rows)


TABLES = {"compare": compare_tables, "latency": latency_tables,
          "versus": versus_tables, "memory": memory_tables,
          "scaling": scaling_tables, "queue": queue_tables}


def describe(raw):
    """Machine and versions, as a list; the same for all parts that were
    measured together."""
    machine = raw["machine"]
    lines = [f"- {machine['processor']}, {machine['cores']} cores, "
             f"{machine['memory_gib']} GiB; {machine['kernel']}, "
             f"{machine['distribution']}; {machine['descriptor_limit']} "
             "descriptors a table"]
    lines += [f"- {name}: {version}"
              for name, version in raw["versions"].items()]
    return "\n".join(lines)


def page(found, drawn):
    """The whole page. Where parts were measured on different machines, or with
    different versions, each part says so."""
    parts = [INTRODUCTION.rstrip()]
    said = None
    for part, raw in found.items():
        parts.append(f"## {plots.TITLES[part]}")
        if describe(raw) != said:
            said = describe(raw)
            parts.append(said)
        quick = (", by a quick run, which shows that it works and no more"
                 if raw["quick"] else "")
        parts.append(f"{raw['date']}{quick}; [all runs]({part}.json).")
        if part in drawn:
            parts.append(f"![{plots.TITLES[part]}]({part}.svg)")
        parts += TABLES[part](raw)
        if raw["failures"]:
            parts.append("Failed, and left out:")
            parts.append("\n".join(f"- {failure}"
                                   for failure in raw["failures"]))
    return "\n\n".join(parts) + "\n"
