"""report.py - docs/performance.md, written from bench/results/*.json and nothing else."""
import json
import pathlib
import statistics

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
COLUMNS = (("rps", "per second", "{:,.0f}"), ("p50_ms", "p50 ms", "{:.2f}"), ("p99_ms", "p99 ms", "{:.2f}"),
           ("gap_ms", "longest pause ms", "{:.0f}"), ("server_us", "CPU µs each", "{:.1f}"),
           ("database_us", "Postgres' CPU µs", "{:.1f}"), ("broker_us", "RabbitMQ's CPU µs", "{:.1f}"),
           ("others_percent", "others' CPU %", "{:.0f}"), ("rss_mb", "RSS MB", "{:.1f}"),
           ("rest_mb", "before, MB", "{:.1f}"), ("start_ms", "start ms", "{:.0f}"), ("mb_s", "MB/s", "{:,.0f}"),
           ("grown_mb", "grown by MB", "{:.1f}"), ("each_kb", "kB each", "{:.2f}"), ("of_plain", "rate to plain", "{:.2f}"),
           ("added_ms", "p99 added ms", "{:.3f}"), ("noise_ms", "noise ms", "{:.3f}"), ("compared", "compared", "{:,.0f}"),
           ("skipped", "skipped", "{:,.0f}"))


def median_of(rounds, side, key):
    values = [r[side][key] for r in rounds if side in r and key in r[side]]
    return statistics.median(values) if values else None


def read_bar(result, bar):
    """(title, side, other, wanted, key, at_most) of a bar, which may leave its last two to the case."""
    title, side, other, wanted, *own = bar
    case_key = result.get("at_most")
    return title, side, other, wanted, own[0] if own else case_key or "rps", own[1] if len(own) > 1 else bool(case_key)


def bar_results(result):
    """(bar as read_bar has it, median, least, most, reached?) of each bar whose sides ran. Without another side the figure
    itself is held against what is wanted, else its ratio to the other's."""
    found = []
    for bar in result["bars"]:
        _, side, other, wanted, key, at_most = read_bar(result, bar)
        figures = [r[side][key] / (1 if other is None else r[other][key])
                   for r in result["rounds"] if side in r and (other is None or other in r)]
        if figures:
            middle = statistics.median(figures)
            found.append((read_bar(result, bar), middle, min(figures), max(figures),
                          middle <= wanted if at_most else middle >= wanted))
    return found


def case_table(result):
    rounds = result["rounds"]
    sides = list(dict.fromkeys(side for r in rounds for side in r))
    shown = [c for c in COLUMNS if any(median_of(rounds, side, c[0]) is not None for side in sides)]
    lines = ["| | " + " | ".join(c[1] for c in shown) + " |", "|---" * (len(shown) + 1) + "|"]
    for side in sides:
        cells = []
        for key, _, form in shown:
            value = median_of(rounds, side, key)
            cells.append("–" if value is None else form.format(value))
        lines.append(f"| {side} | " + " | ".join(cells) + " |")
    return lines


def extent(result):
    """Of how much a round was: messages, or seconds."""
    return f"{result['count']:,} messages" if result.get("count") else f"{result['seconds']} s"


def bar_lines(result):
    units = {key: name for key, name, _ in COLUMNS}
    lines = []
    for (title, _, other, wanted, key, at_most), middle, low, high, good in bar_results(result):
        against = f"{other or '–'}" + (f" ({units[key]})" if key != "rps" and key in units else "")
        lines.append(f"| {result['title']}: {title} | {against} | {middle:.2f} ({low:.2f}–{high:.2f}) | "
                     f"{'≤' if at_most else '≥'} {wanted} | {'yes' if good else '**no**'} |")
    return lines


def start_lines(result):
    start, rss = median_of(result["rounds"], "usher", "start_ms"), median_of(result["rounds"], "usher", "rss_mb")
    return [f"| Start to first answer | 2,500 ms | {start:.0f} ms | ≤ 50 ms | {'yes' if start <= 50 else '**no**'} |",
            f"| Largest process at rest | 154 MB | {rss:.1f} MB | ≤ 12 MB | {'yes' if rss <= 12 else '**no**'} |"]


def write(order):
    results = [json.loads((RESULTS / f"{name}.json").read_text()) for name in order if (RESULTS / f"{name}.json").exists()]
    out = ["# Performance", "",
           "<!-- Written by bench/run from bench/results/*.json; the words around the figures stand in bench/report.py. -->", "",
           "Everything runs on one machine: load generator, server, durable Postgres (fsync and synchronous_commit on) and each peer in",
           "its turn, rounds interleaved. Only ratios within a row mean something; the spread in brackets is the least and the most of",
           "all rounds. Others' CPU is the share of the machine that went to what was not being measured; where it is not near 0 the",
           "row says less. `make bench` repeats it; `bench/run --only get-by-id --rounds 5 --seconds 4` one case.", "",
           "| case | against | ratio, median (spread) | must reach | reached |", "|---|---|---|---|---|"]
    for result in results:
        out += start_lines(result) if result["name"] == "start" else bar_lines(result)
    for result in results:
        out += ["", f"## {result['title']}", "", *case_table(result), "",
                f"Medians of {len(result['rounds'])} rounds of {extent(result)}; {result['when']}, {result['machine']}, "
                f"commit {result['commit']}. {result['telling']}".rstrip()]
    limits = ROOT / "bench" / "limits.md"
    if limits.exists():
        out += ["", limits.read_text().rstrip()]
    (ROOT / "docs" / "performance.md").write_text("\n".join(out) + "\n")
