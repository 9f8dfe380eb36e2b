"""The experiments' commands: ``evaluate``, ``bench``, and what ``run --experiment`` does."""

from __future__ import annotations

from argparse import Namespace
from importlib import import_module
from pathlib import Path

from auxlib.commands import Add, positive
from auxlib.data.assets import data_dir
from auxlib.data.storage import write_json_atomic
from auxlib.errors import CourseError

ROOMS = {  # an experiment's own, and which of its tables are shown
    "rivals": ("smollm", "rows"),
    "generation": ("control", "storyland_rows", "real_rows"),
    "ytuning": ("ytuning", "rows", "asked_rows", "use_rows"),
    "endtask": ("tartan", "asked_rows", "story_rows", "weight_rows", "real_rows"),
}


def add_commands(add: Add) -> None:
    """Add the experiments' commands to the command line."""
    evaluate = add("evaluate", evaluate_command, "measure control, fluency and cost of an auxiliary")
    evaluate.add_argument("--checkpoint", type=Path, help="a trained auxiliary; the shipped one by default")
    evaluate.add_argument("--n", type=positive, default=1000, help="sentences per condition (default 1000)")
    evaluate.add_argument("--seed", type=int, default=0)
    evaluate.add_argument("--out", type=Path, help="JSON file for the results")

    bench = add("bench", bench_command, "time this machine, beside the frozen model, LoRA and others")
    bench.add_argument("what", choices=("decode", "train", "memory", "reach", "course", "storyland", "all"))


def evaluate_command(args: Namespace) -> int:
    """Measure an auxiliary and write the figures."""
    from auxlib.data.corpora import load_corpus
    from auxlib.modeling import AuxiliaryTunedLM
    from auxlib.recipes import Recipe, load_pretrained
    from experiments.smollm.headline import draw_frontier, evaluate

    model = AuxiliaryTunedLM.from_pretrained(args.checkpoint) if args.checkpoint else load_pretrained()
    recipe = model.receipt.get("recipe", {})
    corpus = load_corpus(recipe.get("corpus", Recipe.corpus), seed=recipe.get("seed", 0), limit=recipe.get("sentences"))
    figures = evaluate(model, corpus, n=args.n, seed=args.seed)
    figures["command"] = f"python -m auxlib evaluate --n {args.n} --seed {args.seed}"
    out = Path(args.out) if args.out else data_dir() / "results" / "full" / "real.json"
    picture = draw_frontier(figures["frontier"])
    figures["figure"], figures["figure_alt"] = out.with_suffix(".png").name, picture.alt
    write_json_atomic(out, figures)
    out.with_suffix(".png").write_bytes(picture.png)
    low, high = figures["accuracy_ci"]
    print(f"keyword accuracy {figures['accuracy']:.3f} [{low:.3f}, {high:.3f}]  n {figures['n_samples']}")
    print(f"by chance        {figures['base_rate']:.3f}")
    print(f"SLOR {figures['slor']:.2f}  human {figures['slor_human']:.2f}  frozen {figures['slor_frozen']:.2f}")
    print(f"decoding costs {figures['decode_ratio']:.2f} times the frozen model alone")
    return 0


def bench_command(args: Namespace) -> int:
    """Print how fast it is, as ratios to what it is compared with, and keep the figures."""
    from experiments.speed.report import PARTS, RESULTS, record_part

    root = data_dir().parent
    for part in PARTS if args.what == "all" else [args.what]:
        for name, value in record_part(part, root).items():
            print(f"{name:28s} {value}")
    print(f"kept in build/bench, and when no part is missing in {RESULTS}")
    return 0


def experiment_command(args: Namespace) -> int:
    """Run an experiment, whole, and record it; of the claim also one seed, and compare with what was recorded."""
    if args.experiment == "claim":
        return _claim(args)
    if args.seed is not None:
        raise CourseError(f"the experiment {args.experiment!r} is run whole: --seed goes with --experiment claim.")
    from experiments.claim.table import as_markdown

    room, *shown = ROOMS[args.experiment]
    experiment, report, table = (
        import_module(f"experiments.{room}.{part}") for part in ("experiment", "report", "table")
    )
    root = data_dir().parent
    records, spent = experiment.run_experiment(root / "build" / args.experiment, jobs=args.jobs)
    found = report.assemble(records) | report.origin() | {"seconds": round(spent)}
    write_json_atomic(root / table.RESULTS, found)
    for rows in filter(None, (getattr(table, name)(found) for name in shown)):
        print(as_markdown(rows))
    return int(bool(found["failed"]))


def _claim(args: Namespace) -> int:
    from experiments.claim.campaign import SEEDS, WHOLE, run_campaign
    from experiments.claim.pictures import illustrate
    from experiments.claim.report import assemble, curves, differences, load_claim, origin
    from experiments.claim.results import CURVES, RESULTS
    from experiments.claim.table import as_lines

    root, seeds = data_dir().parent, SEEDS if args.seed is None else (args.seed,)
    recorded = None if args.seed is None else load_claim(root)
    known = recorded and recorded["settings"]
    records, settings, spent = run_campaign(root / "build" / "claim", WHOLE, seeds, args.jobs, known)
    found = assemble(records, WHOLE.train) | origin() | {"settings": settings, "seconds": round(spent)}
    print("\n".join(as_lines(found)))
    if args.seed is None:
        write_json_atomic(root / RESULTS, found)
        write_json_atomic(root / CURVES, curves(records))
        illustrate(root)
    elif recorded:
        print("\n".join(differences(found, recorded, args.seed)) or "every figure of this seed is as it was recorded.")
    return int(bool(found["failed"]))
