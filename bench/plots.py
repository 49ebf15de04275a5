"""The plots of a report, from its raw numbers, by gnuplot; see README.md."""

import os
import re
import statistics
import subprocess

import compare
import openloop
import servers
from servers import Failed

TITLES = {
    "compare": "What a request costs",
    "latency": "Latency at a constant rate",
    "versus": "The slowest of a thousand, at half of hcsd's capacity",
    "memory": "Memory of an idle connection",
    "scaling": "From a thousand connections to a million",
    "queue": "The queue alone",
}
# What is compared with what has the same colour on each plot. They stay apart
# for those who see no red or green, too (after Okabe and Ito).
COLOURS = {
    "hcsd": "#0072b2", "hcsd-again": "#56b4e9",
    "floor": "#7f7f7f", "floor-again": "#b3b3b3",
    "nginx": "#009e73", "haproxy": "#cc79a7",
    "go": "#d55e00", "go-again": "#e69f00",
    "mutex": "#7f7f7f", "ck": "#009e73", "hcsd again": "#56b4e9",
}
NAMES = {"haproxy": "HAProxy", "go": "Go server", "hcsd-again": "hcsd again",
         "go-again": "Go server again", "floor-again": "floor again"}
POINTS = {"hcsd": 7, "hcsd-again": 6, "nginx": 5, "haproxy": 9, "go": 13,
          "go-again": 12}
ORDER = ("floor", "floor-again", "hcsd", "hcsd-again", "nginx", "haproxy", "go",
         "go-again")
SECONDS = 60  # that gnuplot may take for a plot

HEAD = """\
set terminal svg noenhanced size {width},{height} font 'sans-serif,14' \\
    background '#ffffff' linewidth 1.3
set output '{output}'
set encoding utf8
set border 3 lc rgb '#555555'
set grid ytics lc rgb '#dddddd' lw 0.7 lt 1
set tics nomirror out scale 0.6 textcolor rgb '#222222'
set key textcolor rgb '#222222' samplen 2 spacing 1.15
set style fill solid 0.85 noborder
"""


def name_of(label):
    return NAMES.get(label, label)


def in_order(labels):
    return [label for label in ORDER if label in labels]


def block(name, rows):
    """Data under a name, each row a list; text in it is quoted already."""
    lines = "\n".join(" ".join(str(field) for field in row) for row in rows)
    return f"${name} << END_OF_DATA\n{lines}\nEND_OF_DATA\n"


def quoted(text):
    return f'"{text}"'


def middle_and_ends(values):
    return [statistics.median(values), min(values), max(values)]


def ranges(data, style, low=3):
    """From the lowest to the highest, for a plot command: gnuplot's own bars
    leave a hole where their point would be."""
    return (f"{data} using 1:{low}:(0):(${low + 1} - ${low}) with vectors "
            f"heads size graph 0.006,90 {style} notitle")


def variable(label):
    return re.sub(r"[^a-z0-9]", "_", label)


# --- One function a part: width, height, and what comes after HEAD. None when
# nothing went well enough to be drawn.


def draw_compare(raw):
    runs = compare.runs_of(raw)
    rows = []
    for case in raw["cases"]:
        over = compare.ratios(runs, case["label"], "floor", "cpu_us")
        if over:
            rows.append((case["label"], case["server"],
                         middle_and_ends(over)))
    if not rows:
        return None
    script = block("ratios", [
        [place, quoted(label), *of, int(COLOURS[server][1:], 16)]
        for place, (label, server, of) in enumerate(rows)])
    script += block("names", [
        [place, of[2], quoted(f"{of[0]:.2f}")]
        for place, (_, _, of) in enumerate(rows)])
    return 900, 480, script + f"""\
set title 'CPU time of the server for a request, over that of the floor'
set ylabel 'times the floor'
set yrange [0:*]
set offsets 0, 0, graph 0.08, 0
set xrange [-0.6:{len(rows) - 0.4}]
set xtics rotate by -25 left offset -1,0
set boxwidth 0.62
unset key
set arrow from graph 0, first 1 to graph 1, first 1 nohead \\
    lc rgb '#444444' dt 2 front
plot $ratios using 1:3:6:xtic(2) with boxes lc rgb variable, \\
    {ranges("$ratios", "lc rgb '#222222' lw 1.2", low=4)}, \\
    $names using 1:2:3 with labels offset 0,0.8 textcolor rgb '#222222'
"""


def latency_tics(steps=(1,)):
    """A logarithmic axis of microseconds, with words on it."""
    tics = [f"'{step * 10**power // scale} {unit}' {step * 10**power}"
            for power in range(1, 8)
            for unit, scale in [("µs", 1) if power < 3 else
                                ("ms", 10**3) if power < 6 else ("s", 10**6)]
            for step in steps]
    return f"set logscale y\nset ytics ({', '.join(tics)})\n"



def latency_curve(label, data):
    colour = f"lc rgb '{COLOURS[label]}'"
    dashes = " dt 2" if label.endswith(openloop.AGAIN) else ""
    return [ranges(data, f"{colour} lw 0.8"),
            f"{data} using 1:2 with linespoints {colour}{dashes} lw 1.8 "
            f"pt {POINTS[label]} ps 0.6 title '{name_of(label)}'"]


def draw_latency(raw):
    curves = {percentile: [] for percentile in openloop.PERCENTILES}
    script = ""
    highest = 0
    # The first on top, and yet first in the key.
    for label in reversed(in_order(openloop.labels_of(raw))):
        for percentile in openloop.PERCENTILES:
            rows = []
            for rate in openloop.rates_of(raw):
                values = openloop.latencies(raw, label, rate, percentile)
                if values:
                    rows.append([rate / 1000, *middle_and_ends(values)])
                    highest = max(highest, *values)
            if rows:
                name = variable(f"{label}_{percentile}")
                script += block(name, rows)
                curves[percentile] += latency_curve(label, f"${name}")
    if highest == 0:
        return None
    width = max(openloop.rates_of(raw)) / 1000
    script += latency_tics() + f"""\
set multiplot layout 3,1 title \\
    'POST / at a constant rate: how long until the answer' \\
    margins 0.125,0.80,0.07,0.95 spacing 0.04,0.045
set xrange [0:{width * 1.04:.3f}]
set yrange [30:{max(highest * 1.5, 1e4):.0f}]
set format x ''
"""
    for percentile in openloop.PERCENTILES:
        last = percentile == openloop.PERCENTILES[-1]
        first = percentile == openloop.PERCENTILES[0]
        if last:
            script += ("set format x '%g'\n"
                       "set xlabel 'thousand requests offered a second'\n")
        script += ("set key outside right top Left reverse invert\n" if first
                   else "unset key\n")
        script += f"set ylabel 'latency, {percentile}'\n"
        script += "plot " + ", \\\n    ".join(curves[percentile]) + "\n"
    return 900, 1000, script + "unset multiplot\n"


def draw_versus(raw):
    labels = in_order(openloop.labels_of(raw))
    rate = raw["offered"]
    points = []
    medians = []
    for place, label in enumerate(labels):
        values = openloop.latencies(raw, label, rate, "p99.9")
        if not values:
            continue
        colour = int(COLOURS[label][1:], 16)
        for number, value in enumerate(values):
            aside = 0.3 * ((number + 0.5) / len(values) - 0.5)
            points.append([place + aside, value, colour])
        medians.append([place - 0.28, statistics.median(values), 0.56])
    if not points:
        return None
    names = ", ".join(f"'{name_of(label)}' {place}"
                      for place, label in enumerate(labels))
    return 760, 480, (
        block("points", points) + block("medians", medians)
        + latency_tics((1, 2, 5))
        + f"""\
set title 'p99.9 of POST / at {rate:,} requests a second: each run, \
and the medians'
set ylabel 'latency, p99.9'
set xrange [-0.6:{len(labels) - 0.4}]
set xtics ({names})
set yrange [{min(row[1] for row in points) / 2:.0f}:\
{max(row[1] for row in points) * 2:.0f}]
set mytics 10
unset key
plot $medians using 1:2:3:(0) with vectors nohead lc rgb '#222222' lw 2, \\
    $points using 1:2:3 with points pt 7 ps 0.8 lc rgb variable
""")


def draw_memory(raw):
    rows = [[place, weight["bytes_each"],
             int(COLOURS[weight["server"]][1:], 16),
             quoted(f"{weight['bytes_each']:.0f} B"),
             quoted(weight["label"].replace(", ", "\\n"))]
            for place, weight in enumerate(raw["weights"])]
    if not rows:
        return None
    return 800, 460, block("weights", rows) + f"""\
set title 'User memory of an idle keep-alive connection, \
{raw['connections']} of them held'
set ylabel 'bytes, logarithmic'
set logscale y
set yrange [50:{max(row[1] for row in rows) * 3:.0f}]
set ytics (64, 128, 256, 512, '1 KiB' 1024, '2 KiB' 2048, '4 KiB' 4096, \\
    '8 KiB' 8192, '16 KiB' 16384, '32 KiB' 32768)
set xrange [-0.6:{len(rows) - 0.4}]
set boxwidth 0.55
set bmargin 3.5
unset key
plot $weights using 1:2:3:xtic(5) with boxes lc rgb variable, \\
    $weights using 1:2:4 with labels offset 0,0.7 textcolor rgb '#222222'
"""


def draw_scaling(raw):
    steps = sorted({run["connections"] for run in raw["runs"]})
    if not steps:
        return None
    wanted = (
        ("bytes", "user memory of each, bytes", "set yrange [0:*]",
         lambda run: run["bytes_each"]),
        ("opening", "seconds to open all", "set logscale y",
         lambda run: run["open_seconds"]),
        ("fresh", "/health to a new client, ms",
         "set yrange [0:*]", None),
        ("idle", "idle, per cent of a core", "set yrange [0:*]",
         lambda run: run["idle_cores"] * 100),
    )
    script = ""

    def rows_of(value):
        return [[connections, *middle_and_ends(
            [value(run) for run in raw["runs"]
             if run["connections"] == connections])] for connections in steps]

    for name, _, _, value in wanted:
        if value is not None:
            script += block(name, rows_of(value))
    for percentile in ("p50", "p99"):
        script += block(percentile, rows_of(
            lambda run, which=percentile:
            run["fresh"]["latency_us"][which] / 1000))
    tics = ", ".join(f"'{plain(step)}' {step}" for step in steps)
    script += f"""\
set multiplot layout 2,2 title 'hcsd with many idle connections' \\
    margins 0.10,0.97,0.10,0.93 spacing 0.12,0.13
set logscale x
set xrange [{steps[0] / 1.8:.0f}:{steps[-1] * 1.8:.0f}]
set xtics ({tics})
set xlabel 'connections'
set offsets 0, 0, graph 0.15, 0
unset key
"""
    line = f"lc rgb '{COLOURS['hcsd']}' pt 7 ps 0.7 lw 1.8"
    bars = f"lc rgb '{COLOURS['hcsd']}' lw 0.9"
    for name, title, scale, value in wanted:
        script += f"{scale}\nset ylabel '{title}'\n"
        if value is not None:
            script += (f"plot {ranges('$' + name, bars)}, "
                       f"${name} using 1:2 with linespoints {line}\n")
        else:
            script += (
                "set key top left Left reverse\n"
                f"plot {ranges('$p99', bars)}, "
                f"$p99 using 1:2 with linespoints {line} title 'p99', "
                "$p50 using 1:2 with linespoints "
                f"lc rgb '{COLOURS['hcsd-again']}' pt 6 ps 0.7 lw 1.8 dt 2 "
                "title 'p50'\nunset key\n")
        script += "unset logscale y\nset yrange [*:*]\n"
    return 960, 720, script + "unset multiplot\n"


def plain(count):
    for scale, word in ((1000000, " million"), (1000, ",000")):
        if count >= scale and count % scale == 0:
            return f"{count // scale}{word}"
    return str(count)


def queue_kinds(raw):
    return list(dict.fromkeys(row["queue"] for row in raw["results"]))


def queue_name(queue):
    return {"mutex": "ring under a mutex",
            "ck": "Concurrency Kit's ring"}.get(queue, queue)


def queue_shapes(raw):
    return sorted({row["producers"] for row in raw["results"]})


def queue_times(raw, queue, shape):
    for row in raw["results"]:
        if row["queue"] == queue and row["producers"] == shape:
            return row["all"]
    raise Failed(f"queue.json: nothing of {queue} with {shape} + {shape}")


def draw_queue(raw):
    kinds = queue_kinds(raw)
    shapes = queue_shapes(raw)
    apart = 0.7 / len(kinds)
    script = ""
    curves = []
    values = []
    for position, queue in enumerate(kinds):
        rows = []
        for place, shape in enumerate(shapes):
            of = middle_and_ends(queue_times(raw, queue, shape))
            values += of
            rows.append([place + (position - (len(kinds) - 1) / 2) * apart,
                         *of])
        data = variable(queue)
        script += block(data, rows)
        curves.append(ranges(f"${data}",
                             f"lw 1.8 lc rgb '{COLOURS[queue]}'"))
        curves.append(f"${data} using 1:2 with points pt 7 ps 0.9 "
                      f"lc rgb '{COLOURS[queue]}' "
                      f"title {quoted(queue_name(queue))}")
    tics = ", ".join(f"'{shape} + {shape}' {place}"
                     for place, shape in enumerate(shapes))
    powers = ", ".join(f"{step * 10**power:g}" for power in range(0, 8)
                       for step in (1, 2, 5))
    return 860, 480, script + f"""\
set title 'An item through the queue: a push and a pop'
set ylabel 'nanoseconds an item'
set xlabel 'producers + consumers'
set logscale y
set yrange [{min(values) / 1.5:.1f}:{max(values) * 1.5:.1f}]
set ytics ({powers})
set xrange [-0.5:{len(shapes) - 0.5}]
set xtics ({tics}) scale 0
set key outside right top Left reverse
plot """ + ", \\\n    ".join(curves) + "\n"


DRAWINGS = {"compare": draw_compare, "latency": draw_latency,
            "versus": draw_versus, "memory": draw_memory,
            "scaling": draw_scaling, "queue": draw_queue}


def draw(gnuplot, part, raw, folder):
    """False when there is nothing to draw."""
    output = os.path.join(folder, f"{part}.svg")
    drawing = DRAWINGS[part](raw)
    if drawing is None:
        return False
    width, height, script = drawing
    script = HEAD.format(width=width, height=height,
                         output=output.replace("'", "''")) + script
    try:
        done = subprocess.run(
            [gnuplot], input=script, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise Failed(f"gnuplot: {error}") from error
    if done.returncode != 0 or "warning" in done.stdout:
        raise Failed(f"gnuplot, {part}: {done.stdout.strip()}")
    return True


def draw_all(found, folder):
    """The parts that were drawn: none without gnuplot."""
    gnuplot = servers.find_tool("gnuplot")
    if gnuplot is None:
        servers.say("gnuplot is not here, nothing is drawn: apt-get install "
                    f"{servers.PACKAGES['gnuplot']}")
        return []
    return [part for part, raw in found.items()
            if draw(gnuplot, part, raw, folder)]
