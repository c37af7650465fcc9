"""The report: RESULTS.md and its plots, made from the raw results of run.py and nothing else."""

import math
import statistics

import plot

RECALLS = [0.95, 0.99]
# The ef at which indexes are compared for how well they were built.
EF_OF_BUILD = 64
# A build counts as equal if its index finds at most so much less at EF_OF_BUILD.
RECALL_SLACK = 0.01

GRAPHS = ["hnswlib", "faiss", "usearch"]
OTHERS = ["svs", "zvec"]
# How many times as fast as the best of GRAPHS, by data set; of OTHERS; and how long a build may take beside the fastest.
SPEED_WANTED = {"fashion-mnist": 2.5, "glove": 1.7, "clustered": 2.0}
OTHERS_WANTED, BUILD_WANTED = 1.2, 0.6


def memory_wanted(dim):
    """Bytes per point beyond its vector."""
    return 1.25 * dim + 220


class Figures:
    """One contestant's figures on one data set."""

    def __init__(self, name, raw, shape):
        self.name, self.library, self.about = name, raw["library"], raw["about"]
        self.refused = raw.get("refused")
        self.is_built = "build_s" in raw
        self.build_s, self.insert_s = raw.get("build_s"), raw.get("insert_s", 0)
        if self.is_built:
            self.bytes_per_point = raw["index_bytes"] / shape["points"]
            self.beyond_vectors = self.bytes_per_point - 4 * shape["dim"]
        counted = [raw[part] for part in ("vector_bytes", "code_bytes", "link_bytes") if part in raw]
        self.counted_per_point = sum(counted) / shape["points"] if counted else None
        # Of ef to recall and queries per second.
        self.sweep = {
            int(ef): (point["recall"], shape["queries"] / statistics.median(point["seconds"]))
            for ef, point in raw["sweep"].items()
        }

    def recall_at(self, ef):
        """Where the sweep ended before this ef, what it ended with."""
        efs = [swept for swept in self.sweep if swept <= ef]
        return self.sweep[max(efs)][0] if efs else None

    def speed_at(self, recall):
        """Queries per second at a recall, between the two measured points around it; and whether it lies between two. The
        smallest ef may find more already: then that point stands. None where the recall was not reached."""
        points = [self.sweep[ef] for ef in sorted(self.sweep)]
        for place, (found, speed) in enumerate(points):
            if found < recall:
                continue
            if place == 0:
                return speed, False
            before, speed_before = points[place - 1]
            share = (recall - before) / (found - before)
            return math.exp(math.log(speed_before) + share * (math.log(speed) - math.log(speed_before))), True
        return None


class Competition:
    """All contestants of one data set."""

    def __init__(self, name, raw):
        self.name, self.shape = name, raw
        self.all = [Figures(name, one, raw) for name, one in raw["contestants"].items()]
        self.measured = [one for one in self.all if one.sweep]
        self.ours = next((one for one in self.measured if one.name == "quiver"), None)

    def best(self, libraries, recall):
        """The fastest of them at a recall, with its speed; None where nobody reached it."""
        entitled = [one for one in self.measured if one.library in libraries]
        reached = [(one.speed_at(recall)[0], one) for one in entitled if one.speed_at(recall)]
        return max(reached, key=lambda pair: pair[0], default=None)

    def fastest_build(self):
        """Of the others' indexes that find as much as ours with the same ef."""
        floor = self.ours.recall_at(EF_OF_BUILD) - RECALL_SLACK
        others = [one for one in self.measured if one.library != self.ours.library]
        equal = [one for one in others if one.recall_at(EF_OF_BUILD) >= floor]
        return min(equal, key=lambda one: one.build_s, default=None)


# --- tables -----------------------------------------------------------------------------------------------------------


def table(header, rows):
    """Markdown; the first column of text, the others of numbers."""
    line = "|---|" + "---:|" * (len(header) - 1)
    return "\n".join([f"| {' | '.join(header)} |", line, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def speed_text(one, recall):
    found = one.speed_at(recall)
    if found is None:
        return "not reached"
    return f"{found[0]:,.0f}" + ("" if found[1] else f" ({one.sweep[min(one.sweep)][0]:.3f})")


def ratio_text(competition, one, recall):
    ours, theirs = competition.ours and competition.ours.speed_at(recall), one.speed_at(recall)
    if one is competition.ours or not ours or not theirs:
        return ""
    return f"{ours[0] / theirs[0]:.2f}"


def speeds(competition):
    header = ["", *(cell for recall in RECALLS for cell in (f"at {recall}", "quiver to it")), "largest recall"]
    order = sorted(competition.measured, key=lambda one: -(one.speed_at(RECALLS[-1]) or (0,))[0])
    rows = [
        [
            f"**{one.name}**" if one is competition.ours else one.name,
            *(cell for recall in RECALLS for cell in (speed_text(one, recall), ratio_text(competition, one, recall))),
            f"{max(found for found, _ in one.sweep.values()):.4f}",
        ]
        for one in order
    ]
    return table(header, rows)


def builds(competition):
    header = ["", "build, s", "quiver to it", f"recall at ef {EF_OF_BUILD}", "bytes per point", "beyond the f32 vector"]
    ours, rows = competition.ours, []
    for one in sorted(competition.measured, key=lambda one: one.build_s):
        ratio = f"{ours.build_s / one.build_s:.2f}" if ours and one is not ours else ""
        name = f"**{one.name}**" if one is ours else one.name
        figures = [f"{one.bytes_per_point:,.0f}", f"{one.beyond_vectors:,.0f}"]
        rows.append([name, f"{one.build_s:,.1f}", ratio, f"{one.recall_at(EF_OF_BUILD):.4f}", *figures])
    return table(header, rows)


def sweeps(competition):
    efs = sorted({ef for one in competition.measured for ef in one.sweep})

    def cell(one, ef):
        return f"{one.sweep[ef][0]:.4f} / {one.sweep[ef][1]:,.0f}" if ef in one.sweep else ""

    rows = [[str(ef), *(cell(one, ef) for one in competition.measured)] for ef in efs]
    return table(["ef", *(one.name for one in competition.measured)], rows)


# --- targets ----------------------------------------------------------------------------------------------------------


def verdict(is_reached):
    return "reached" if is_reached else "**missed**"


def speed_targets(competition):
    for libraries, wanted in [(GRAPHS, SPEED_WANTED.get(competition.name)), (OTHERS, OTHERS_WANTED)]:
        for recall in RECALLS:
            what = f"queries per second at {recall}, to the best of {', '.join(libraries)}"
            # Of every library any of its types, so of ours too.
            ours, best = competition.best([competition.ours.library], recall), competition.best(libraries, recall)
            if ours is None:
                yield [what, competition.name, f">= {wanted}", "recall not reached", verdict(False)]
            elif best is None:
                took_part = any(one.library in libraries for one in competition.measured)
                why = "none of them reached it" if took_part else "none of them took part"
                yield [what, competition.name, f">= {wanted}", why, "no comparison"]
            else:
                ratio = ours[0] / best[0]
                who = f"{ours[1].name} to {best[1].name}"
                yield [what, competition.name, f">= {wanted}", f"{ratio:.2f} ({who})", verdict(ratio >= wanted)]


def build_target(competition):
    what, fastest = "build, to the fastest of all at equal recall", competition.fastest_build()
    if fastest is None:
        return [what, competition.name, f"<= {BUILD_WANTED}", "no other of equal recall", "no comparison"]
    ratio = competition.ours.build_s / fastest.build_s
    reached = f"{ratio:.2f} ({fastest.name})"
    return [what, competition.name, f"<= {BUILD_WANTED}", reached, verdict(ratio <= BUILD_WANTED)]


def memory_target(competition):
    wanted, held = memory_wanted(competition.shape["dim"]), competition.ours.beyond_vectors
    what = "bytes per point beyond the f32 vector"
    return [what, competition.name, f"<= {wanted:,.0f}", f"{held:,.0f}", verdict(held <= wanted)]


def targets(competitions):
    ours = [one for one in competitions if one.ours]
    rows = [row for one in ours for row in speed_targets(one)]
    rows += [build_target(one) for one in ours] + [memory_target(one) for one in ours]
    # Text columns but for the two of figures.
    header = ["", "data", "wanted", "reached", ""]
    return "\n".join(
        [f"| {' | '.join(header)} |", "|---|---|---:|---:|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    ) + "\n"


# --- the text ---------------------------------------------------------------------------------------------------------


def machine_table(raw):
    machine = raw["machine"]
    rows = [
        ["processor", f"{machine['cpu']}, {machine['cores']} cores; {', '.join(machine['simd'])}"],
        ["memory", f"{machine['memory_gib']} GiB"],
        ["system", f"{machine['system']}, Python {machine['python']}"],
        ["date", raw["date"]],
        *([library, version] for library, version in raw["versions"].items()),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def method(raw):
    its = raw["parameters"]
    m, alpha = its["m"], its["alpha"]
    rounds = f"{its['rounds']} rounds" if its["rounds"] > 1 else "one round"
    return f"""\
M={m}, ef_construction={its["ef_construction"]}, k={its["k"]}; Vamana has {2 * m} neighbors per point, as an HNSW has on
level 0, and an alpha of {alpha["euclid"]} for L2, {alpha["cosine"]} for cosine. Cosine is the inner product of vectors of
length 1. Each contestant is a process that calls its library directly. Indexes are built one after the other with
{its["threads"]} threads; then all search with one thread, in turns, ef by ef, {rounds}. Searches are timed by the process's own
processor time, builds by the clock. Shown are medians of the rounds.

- Recall is the share of the exact {its["k"]} nearest, by id, the same code for all.
- Queries per second at a recall lie between the two measured points around it, on a line of their logarithms. Where the
  smallest ef ({its["ef_min"]}) finds more already, its point stands, with its recall in brackets. Nothing is extrapolated.
- "quiver to it" is ours divided by theirs: of queries per second above 1 is faster, of seconds below 1 is.
- A build counts as equal to ours if its recall at ef {EF_OF_BUILD} is at most {RECALL_SLACK} less. For zvec it is the time of
  `optimize`, which links what was inserted before.
- Bytes per point are what the process holds more than before it had an index, after one pass of searches. Beyond the f32
  vector they can be negative: some keep narrower numbers and no f32 beside them.
"""


def notes(competition):
    """What a reader of the tables must know about single contestants."""
    lines = [f"- {one.name} refused: {one.refused}" for one in competition.all if one.refused]
    lines += [
        f"- {one.name}: inserting before the build took another {one.insert_s:,.1f} s."
        for one in competition.measured
        if one.insert_s
    ]
    ours = competition.ours
    if ours and ours.counted_per_point:
        lines.append(f"- quiver counts {ours.counted_per_point:,.0f} bytes per point itself: vectors, codes and links.")
    return "\n".join(lines) + "\n" if lines else ""


def section(competition):
    shape = competition.shape
    metric = {"euclid": "L2", "cosine": "cosine"}[shape["metric"]]
    about = f"{shape['points']:,} points of {shape['dim']} dimensions, {metric}; {shape['queries']:,} other vectors as queries."
    return "\n".join(
        [
            f"## {competition.name}\n",
            f"{about}\n",
            f"![recall and queries per second](plots/{competition.name}.svg)\n",
            "Queries per second, one thread:\n",
            speeds(competition),
            "Build and memory:\n",
            builds(competition),
            notes(competition),
            "<details><summary>recall / queries per second of every ef</summary>\n",
            sweeps(competition),
            "</details>\n",
        ]
    )


def contestants_table(competitions):
    abouts = {one.name: one.about for competition in competitions for one in competition.all}
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {about} |" for name, about in abouts.items())]) + "\n"


def joined(raws):
    """Results of several runs, each data set from the last that has it: on one machine, with the same parameters."""
    first = raws[0]
    for other in raws[1:]:
        for part in ("machine", "parameters", "versions"):
            if other[part] != first[part]:
                raise SystemExit(f"these results do not go together: {part} is {first[part]} and {other[part]}")
    return {**raws[-1], "data": {name: data for raw in raws for name, data in raw["data"].items()}}


def write(raw, folder):
    competitions = [Competition(name, data) for name, data in raw["data"].items()]
    plots = folder / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    for competition in competitions:
        curves = [plot.Curve(one.name, one.library, one.sweep.values()) for one in competition.measured]
        title = f"{competition.name}: {competition.shape['points']:,} points"
        (plots / f"{competition.name}.svg").write_text(plot.svg(title, curves))
    text = "\n".join(
        [
            "# Quiver's index beside other libraries\n",
            "Written by `make bench` (`benches/libraries/`). What stands beside each other was measured in one run.\n",
            machine_table(raw),
            "## Targets\n",
            targets(competitions),
            "## How it was measured\n",
            method(raw),
            contestants_table(competitions),
            *map(section, competitions),
        ]
    )
    (folder / "RESULTS.md").write_text(text)
    print(f"report: {folder / 'RESULTS.md'}")
