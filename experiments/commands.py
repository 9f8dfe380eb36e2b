"""The experiments' commands: ``evaluate``, ``bench``, and the part of ``run`` behind ``--experiment``."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from auxlib.commands import Add, positive
from auxlib.data.assets import data_dir
from auxlib.data.storage import write_json_atomic
from auxlib.errors import CourseError
from experiments.records import FOLDER, RECORDS
from experiments.runner import load_experiment, load_record, run_and_record


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
    out = Path(args.out) if args.out else data_dir().parent / FOLDER / "real.json"
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
    """Measure one part of the experiment ``speed``, or all, print the figures and keep them."""
    from experiments.speed.experiment import PARTS, record_part

    root = data_dir().parent
    for part in PARTS if args.what == "all" else [args.what]:
        for name, value in record_part(part, root).items():
            print(f"{name:28s} {value}")
    print(f"kept in build/speed, and when no part is missing in {RECORDS['speed'].path}")
    return 0


def experiment_command(args: Namespace) -> int:
    """Run a whole experiment and record it; or run one seed again and compare it with the record."""
    experiment, root = load_experiment(args.experiment), data_dir().parent
    if args.seed is not None:
        if experiment.repeat_seed is None:
            raise CourseError(f"the experiment {args.experiment!r} is run whole: --seed goes with --experiment claim.")
        recorded = load_record(experiment, root)
        results, differences = experiment.repeat_seed(experiment.runner(root, args.jobs), args.seed, recorded)
        print(experiment.describe(results))
        if recorded is not None:
            print("\n".join(differences) or "every figure of this seed is as it was recorded.")
    else:
        results = run_and_record(experiment, root, args.jobs)
        print(experiment.describe(results))
    return int(bool(results.get("failed")))
