"""Write the tables of docs/benchmarks.md from benchmarks/results/*.json: python benchmarks/report.py > tables.md."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

RESULTS = Path(__file__).parent / "results"
SETS = ("brain_mri", "breast_us", "polyps", "chest_xray")
TARGETS = {"brain_mri": "0.86 / 0.90", "breast_us": "0.80 / –", "polyps": "0.90 / –", "chest_xray": "0.94 / –"}


def read(part: str) -> dict[str, Any]:
    """Return the figures of one part."""
    return json.loads((RESULTS / f"{part}.json").read_text(encoding="utf-8"))[part]


def table(head: list[str], rows: list[list[Any]]) -> str:
    """Return a Markdown table; numbers get three digits."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(f"{c:.3f}" if isinstance(c, float) else str(c) for c in row) + " |" for row in lines
    )


def text() -> str:
    """Text → mask, and absent prompts."""
    found = read("text")
    rows = []
    for name, row in found.items():
        target = TARGETS.get(name, "0.86 / 0.90")
        rows.append([name, row["n_positive"], row["dsc"]["mean"], row["nsd"]["mean"], target, row["found_share"]])
    first = table(["test set", "n", "DSC", "NSD at 2 px", "target", "found"], rows)
    kinds = ("wrong organ", "nonsense", "untaught")
    absent = [
        [n, *(found[n][f"drawn, {k}"] for k in kinds), found[n]["normal_false_positive_rate"] or "–"] for n in SETS
    ]
    return first + "\n\n" + table(["mask drawn for", *kinds, "normal image"], absent)


def corruptions() -> str:
    """DSC under each corruption."""
    found = read("corruptions")
    kinds = [k for k in found[SETS[0]] if k not in ("n", "clean", "mean loss")]
    rows = [[k, *(found[n][k] for n in SETS)] for k in ("clean", *kinds, "mean loss")]
    return table(["", *(f"{n} (n = {found[n]['n']})" for n in SETS)], rows) + f"\n\nMean loss {found['mean loss']:.3f}."


def clicks() -> str:
    """Box and clicks beside LiteMedSAM."""
    found = read("clicks")
    keys = list(found["mean"]["lite"])
    rows = [[n, who, *(found[n][who][k] for k in keys)] for n in found for who in ("lite", "LiteMedSAM")]
    return table(["test set", "model", *keys], rows)


def speed() -> str:
    """Seconds and ratios."""
    found = read("speed")
    rows = [[k, v] for k, v in found["seconds"].items()] + [[k, v] for k, v in found.items() if k != "seconds"]
    return table(["", "seconds or ratio"], rows)


def propagation() -> str:
    """Dice over whole volumes and clicks, after one, two and three corrected slices."""
    found = read("propagation")
    keys = list(found["mean"][0])
    first = table(keys, [[row[k] for k in keys] for row in found["mean"]])
    rows = [
        [name, row["centre by text"], row["centre corrected"], *(r["dice"] for r in row["rounds"])]
        for name, row in found["patients"].items()
    ]
    return first + "\n\n" + table(["patient", "centre by text", "centre corrected", "1", "2", "3"], rows)


def window() -> str:
    """What a reader waits for in a real window."""
    found = read("window")
    rows = {**found["answers"], **found["project"]}
    timed = [[k, v["n"], v["median ms"], v["p95 ms"]] for k, v in rows.items()]
    first = table(["answer on screen", "n", "median ms", "p95 ms"], timed)
    others = [[k, v] for part in ("opening", "scrolling", "work", "large") for k, v in found[part].items()]
    return first + "\n\n" + table(["", "measured"], others)


def learners() -> str:
    """Learning curves of the instant learner, and clicks before and after the decoder's practice."""
    found = read("learners")
    keys = ("same volume", "other volumes", "other volumes, map alone", "drawn on empty slices", "seconds")
    rows = [
        [name, count, *(row[key] for key in keys)]
        for name, curve in found.items()
        if name.startswith("instant")
        for count, row in sorted(curve.items(), key=lambda item: int(item[0]))
    ]
    tables = [table(["", "slices", *keys], rows)]
    tables += [
        table(["", name], [[k, v] for k, v in found[name].items() if k != "by seed"])
        for name in found
        if "decoder" in name
    ]
    return "\n\n".join(tables)


def gate() -> str:
    """How often the gate promotes, by noise and size."""
    kinds = ("worse, gate", "better, gate", "2 points, gate", "equal, gate", "equal, bootstrap")
    keys = ["noise", "patients", "slices of each", *kinds]
    return table(keys, [[f"{row[k]:.2f}" if k in kinds else row[k] for k in keys] for row in read("gate")])


def worker() -> str:
    """Kills, pauses, cancels and memory of the worker."""
    found = read("worker")
    return table(["", "what", "measured"], [[part, k, str(v)] for part, row in found.items() for k, v in row.items()])


def saliency() -> str:
    """What each saliency method costs beside the obvious way."""
    found = read("saliency")
    head = ["ViT-B/16, 224²", "ratio"], ["one map for one text", "processor seconds"]
    parts = found["ratios"], found["processor seconds for one map"]
    return "\n\n".join(table(h, [[k, v] for k, v in p.items()]) for h, p in zip(head, parts, strict=True))


def false_alarms() -> str:
    """Findings that are called present where they are not: lite, and each saliency method of a small CLIP."""
    found = read("false_alarms")
    keys = ("with", "without", "ROC area", "false alarms at 90 %", "found, as shipped", "false alarms, as shipped")
    tables = []
    if "lite" in found:
        rows = [[name, *(row[key] for key in keys)] for name, row in found["lite"].items()]
        tables.append(table(["medclipsam-lite", *keys], rows))
    if "clip" in found:
        methods = {name: sets for name, sets in found["clip"].items() if name != "encoder"}
        more = (*keys, "ROC area of specificity")
        rows = [[m, name, *(row[key] for key in more)] for m, sets in methods.items() for name, row in sets.items()]
        tables.append(table(["small CLIP", "", *more], rows))
    return "\n\n".join(tables)


def regions() -> str:
    """Naming regions, finding captions, finding slices."""
    found = read("regions")
    parts = []
    if "classes" in found:
        keys = ("n", "classes", "global", "region", "both")
        rows = [
            [q, *(row[k] for k in keys), (row["both"] - row["global"]) * 100] for q, row in found["classes"].items()
        ]
        parts.append(table(["balanced accuracy", *keys, "gain, points"], rows))
    if "retrieval" in found:
        rows = [[n, *(own[k][0] if isinstance(own[k], list) else own[k] for k in found["retrieval"]["chance"])]
                for n, own in found["retrieval"].items() if isinstance(own, dict)]  # fmt: skip
        parts.append(table(["mean of seeds", *found["retrieval"]["chance"]], rows))
    if "slices" in found:
        keys = [k for k in found["slices"] if k != "all slices together"]
        ways = list(found["slices"]["mean"])
        rows = [[way, *(found["slices"][k][way] for k in keys)] for way in ways]
        parts.append(table(["AUC, slices with tumour", *keys], rows))
    return "\n\n".join(parts)


def whole_volume() -> str:
    """A text on every slice, with and without the glance."""
    found = read("whole_volume")
    keys = list(next(iter(found["patients"].values())))
    rows = [[name, *(row[key] for key in keys)] for name, row in found["patients"].items()]
    return table(["patient", *keys], rows) + f"\n\n{found['times faster']:.2f} times faster."


def questions() -> str:
    """How often a question is answered, and how often rightly at each confidence."""

    def at(row: dict[str, Any], word: str) -> str:
        return f"{row[word]['right']:.3f} (n = {row[word]['n']})" if row[word]["n"] else "–"

    head = ["question", "n", "answered", "right of those", "sure", "likely", "unsure", "calibration error"]
    rows = [
        [
            *(
                name,
                row["n"],
                row["answered"],
                "–" if row["right of those answered"] is None else row["right of those answered"],
            ),
            *(at(row, word) for word in ("sure", "likely", "unsure")),
            "–" if row["calibration error"] is None else row["calibration error"],
        ]
        for name, row in read("questions").items()
    ]
    return table(head, rows)


def retrieval() -> str:
    """Recall of a small CLIP for each loss, mean and standard deviation over seeds."""
    found = read("retrieval")
    keys = list(found["chance"])
    rows: list[list[Any]] = [["chance", *(found["chance"][k] for k in keys)]]
    for name, seeds in found["recall"].items():
        cells = [[seed[k] for seed in seeds] for k in keys]
        rows.append([f"{name} ({len(seeds)})", *(f"{mean(c):.3f} ± {pstdev(c):.3f}" for c in cells)])
    facts = [[k, v] for k, v in found.items() if not isinstance(v, dict)]
    return table(["loss (seeds)", *keys], rows) + "\n\n" + table(["", ""], facts)


def search() -> str:
    """What a search over 100,000 regions costs, and what libraries for it would."""
    found = dict(read("search"))
    libraries = found.pop("libraries", {})
    names = list(found)
    flat = {
        name: {
            f"{part}{', ' if key else ''}{key}": value
            for part, row in own.items()
            for key, value in (row.items() if isinstance(row, dict) else [("", row)])
        }
        for name, own in found.items()
    }
    first = table(["", *names], [[key, *(f"{flat[name][key]:g}" for name in names)] for key in flat[names[0]]])
    if not libraries:
        return first
    keys = list(next(iter(libraries.values())))
    return first + "\n\n" + table(["", *keys], [[n, *(f"{row[k]:g}" for k in keys)] for n, row in libraries.items()])


def learners_few() -> str:
    """SAM-Mix beside a U-Net by the number of slices with masks; other test rows where more of them teach."""
    keys = ("dice", "sd", "drawn")
    tables = []
    for group, found in read("learners_few").items():
        by_seed = found["seeds"].values()
        rows = []
        for name in dict.fromkeys(name for rows_of in by_seed for name in rows_of):
            those = [rows_of[name] for rows_of in by_seed if name in rows_of]
            dices = ", ".join(f"{row['dice']:.3f}" for row in those)
            steps = ", ".join(str(row.get("steps", "–")) for row in those)
            rows.append([name, *(mean(row[k] for row in those) for k in keys), dices, steps])
        head = f"test rows for {group}, n = {found['n_test']}, {found['minutes']:g} min a fit"
        tables.append(table([head, *keys, "Dice by seed", "steps"], rows))
    return "\n\n".join(tables)


def human_loop() -> str:
    """Learning curves of a reader and a learner: what is proposed after each round, and what the reader had to do."""
    found = read("human_loop")
    seeds = found["learners"]
    curves = {name: [one["rounds"] for one in by_seed.values()] for name, by_seed in seeds.items()}
    n = min(len(rounds) for runs in curves.values() for rounds in runs)

    def over_seeds(name: str, key: str, k: int) -> float:
        return mean(rounds[k][key] for rounds in curves[name])

    head = [f"Dice proposed, n = {found['n_judged']}", "seeds", "before", *(f"after {20 * (k + 1)}" for k in range(n))]
    first = [
        [
            name,
            len(runs),
            mean(one["before"]["dice"] for one in seeds[name].values()),
            *(over_seeds(name, "dice", k) for k in range(n)),
        ]
        for name, runs in curves.items()
    ]
    rounds = [f"round {k + 1}" for k in range(n)]
    second = [
        [
            name,
            *(over_seeds(name, "corrections", k) for k in range(n)),
            *(over_seeds(name, key, n - 1) for key in ("accepted unchanged", "Dice accepted")),
        ]
        for name in curves
    ]
    tail = ["corrections per slice", *rounds, "accepted unchanged, last", "Dice accepted, last"]
    return table(head, first) + "\n\n" + table(tail, second)


def weak_supervision() -> str:
    """A U-Net taught by proposals alone beside those proposals."""
    found = read("weak_supervision")
    keys = ("dice", "median", "drawn")
    rows = [[name, *(found["test"][name][k] for k in keys)] for name in ("proposals", "U-Net")]
    first = table([f"test rows, n = {found['test']['n']}", *keys], rows)
    return f"{first}\n\nThe gate: {found['gate']['message']}"


def clicks_while_training() -> str:
    """A click beside the training and while it is held."""
    found = read("clicks_while_training")
    rows = [[when, found["n"], *found[when].values()] for when in ("held", "training")]
    return table(["a click's decoding", "n", "median ms", "p95 ms"], rows) + (
        f"\n\np95 beside the training / held: {found['p95, training / held']:.2f} (target 2)."
    )


def slices() -> str:
    """Which slices of volumes a text finds."""
    found = read("slices")
    ways = found["ways"]
    rows = [[key, *(ways[way][key] for way in ways)] for key in ways["presence"]]
    counts = [[key, value] for key, value in found["counts"].items()]
    return table(["", *ways], rows) + "\n\n" + table(["", ""], counts)


def text_corrections() -> str:
    """Corrections of what a text proposed, with its box kept and without."""
    found = read("text_corrections")
    keys = ("slices", "Dice proposed", "box kept", "first click takes over")
    return table(["corrections a slice", *keys], [[name, *(row[key] for key in keys)] for name, row in found.items()])


PARTS = (
    text,
    corruptions,
    clicks,
    speed,
    propagation,
    whole_volume,
    window,
    learners,
    gate,
    worker,
    saliency,
    false_alarms,
    retrieval,
    regions,
    questions,
    search,
    learners_few,
    human_loop,
    weak_supervision,
    clicks_while_training,
    slices,
    text_corrections,
)


def main() -> None:
    """Print every table there are results for."""
    for part in PARTS:
        if (RESULTS / f"{part.__name__}.json").exists():
            print(f"## {part.__name__}\n\n{part()}\n")


if __name__ == "__main__":
    main()
