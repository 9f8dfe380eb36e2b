"""What do `generate`, `train`, `evaluate` and `bench` print? The command line's side of the main job."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxlib.assets import data_dir
from auxlib.errors import CourseError
from auxlib.once import launched
from auxlib.recipes import (
    QUICK,
    RECIPES,
    SHIPPED,
    SHIPPED_LENGTH,
    SHIPPED_SEVERAL,
    Recipe,
    labelled,
    length_label,
    material,
    scaled_down,
    shipped,
    train,
    write_sentences,
)  # fmt: skip
from auxlib.whole import write_whole

if TYPE_CHECKING:
    from auxlib.keywords import Asked
    from auxlib.tuned import AuxiliaryTunedLM

ROOMS = {  # an experiment's own, and which of its tables are shown
    "rivals": ("rivals", "rows"),
    "generation": ("control", "storyland_rows", "real_rows"),
    "ytuning": ("labels", "rows", "asked_rows", "use_rows"),
    "endtask": ("tartan", "asked_rows", "story_rows", "weight_rows", "real_rows"),
}
LOSSES = {  # of the auxiliaries that the course ships, over their training
    SHIPPED: "real_training.json",
    SHIPPED_SEVERAL: "several_training.json",
    SHIPPED_LENGTH: "length_training.json",
}


def bundle_command(args: Namespace) -> int:
    """Make one archive and say how many files are in it."""
    from auxlib.classroom.bundle import instructor_files, student_files, write_zip
    from auxlib.classroom.nbgrader import nbgrader_files
    from auxlib.course.table import load_course

    if args.who != "student" and args.variant:
        raise CourseError("a variant is a student's; the other archives hold the course as it is.")
    make = {"student": student_files, "instructor": instructor_files, "nbgrader": nbgrader_files}[args.who]
    files = make(load_course(), *filter(None, [args.variant]))
    path = write_zip(args.out or Path("build") / f"{args.who}.zip", files)
    print(f"{path}: {len(files)} files, {path.stat().st_size / 1e6:.1f} MB")
    return 0


def grade_command(args: Namespace) -> int:
    """Grade what was handed in, print the table, and write it down with a page of feedback for each student."""
    from auxlib.classroom.examine import Limits
    from auxlib.classroom.feedback import rows, write
    from auxlib.classroom.grade import grade
    from auxlib.course.page import as_text
    from auxlib.course.table import load_course

    graded = grade(load_course(), args.paths, Limits(args.seconds, seed=args.seed), args.jobs)
    table = write(args.out, graded)
    print(as_text(rows(graded)))
    print(f"table: {table}\nfeedback: {args.out / 'feedback'}")
    return 0


def generate_command(args: Namespace) -> int:
    """Print n sentences around a keyword, or around several."""
    from auxlib.keywords import check_keyword, contains_keyword
    from auxlib.product import as_weight
    from auxlib.tuned import AuxiliaryTunedLM

    words = [check_keyword(word) for word in args.keywords]  # before seconds are spent on loading
    as_weight(args.weight, args.n)
    several = len(words) > 1
    model = AuxiliaryTunedLM.from_pretrained(args.checkpoint) if args.checkpoint else shipped(several=several)
    options = {
        "weight": args.weight, "start": args.prompt, "guarantee": args.guarantee, "temperature": args.temperature,
        "top_p": args.top_p, "max_new_tokens": args.max_new_tokens,
    }  # fmt: skip
    rows = [tuple(words) if several else words[0]] * args.n
    if args.stream:
        texts = _streamed(model, rows, args.seed, options)
    else:
        texts = write_sentences(model, rows, seed=args.seed, **options)
        for text in () if args.jsonl else texts:
            print(text)
    held = [all(contains_keyword(text, word) for word in words) for text in texts]
    if given := [word for word in words if contains_keyword(args.prompt, word)]:
        named = " and ".join(map(repr, given))
        print(f"note: the given beginning holds {named} already; it is not asked for again.", file=sys.stderr)
    if args.jsonl:
        for text, holds in zip(texts, held, strict=True):
            said = {"keywords": words, "text": text, "holds": holds, "lambda": args.weight, "seed": args.seed}
            print(json.dumps(said, ensure_ascii=False))
        return 0
    settings = f"λ = {args.weight:g}, temperature {args.temperature:g}, seed {args.seed}"
    print(f"\n{sum(held)} of {args.n} hold {' and '.join(map(repr, words))}  ({settings})")
    return 0


def _streamed(model: AuxiliaryTunedLM, rows: Sequence[Asked], seed: int, options: Mapping[str, Any]) -> list[str]:
    """One sentence after another, shown while it is written."""
    from transformers import TextStreamer

    streamer = TextStreamer(model.expert_info.tokenizer, skip_prompt=True, skip_special_tokens=True)
    texts = []
    for i, row in enumerate(rows):
        print(options["start"], end="", flush=True)
        texts += write_sentences(model, [row], seed=seed + i, streamer=streamer, **options)
    return texts


def train_command(args: Namespace) -> int:
    """Train what the course ships, the auxiliary or Storyland's language model, and save it with its receipt."""
    return _train_auxiliary(args) if args.what in LOSSES else _train_story_lm(args)


def _train_auxiliary(args: Namespace) -> int:
    stuff = material(recipe_for(args.profile, args.seed, args.what))
    stuff = labelled(stuff, length_label) if args.what == SHIPPED_LENGTH else stuff
    print(f"{len(stuff.train)} sentences, support of {len(stuff.support)} tokens, expert {stuff.expert.fingerprint}")
    model, run = train(stuff, output_dir=f"build/training/{args.what}-{args.profile}")
    if launched()[0]:
        return 0  # of several processes one saves
    model.receipt["command"] = f"python -m auxlib train {args.what} --profile {args.profile} --seed {args.seed}"
    out = _checkpoint(args)
    model.save_pretrained(out)
    curve = {"steps": run.steps, "losses": run.losses, **model.receipt}
    write_whole(data_dir() / "results" / args.profile / LOSSES[args.what], curve)
    print(f"dev {run.dev_loss:.3f} nats/token after {run.minutes:.1f} minutes; saved in {out}")
    return 0


def _checkpoint(args: Namespace) -> Path:
    """Where a training's result goes: only that of a full one may take the place of what the course ships."""
    kept = data_dir() if args.profile == "full" else data_dir().parent / "build"
    return args.out or kept / "checkpoints" / args.what


def _train_story_lm(args: Namespace) -> int:
    import torch

    from auxlib.metrics import versions
    from auxlib.worlds.story_lm import SHIPPED_LM, lm_nll, train_story_lm, training_flops, word_tokenizer
    from auxlib.worlds.storyland import Storyland

    full, rate = (60_000, 6e-3) if args.what == SHIPPED_LM else (600_000, 5e-3)
    world, sentences = Storyland.load(), 2_560 if args.profile == "quick" else full
    model = train_story_lm(world, sentences, rate=rate, seed=args.seed)
    unseen = world.sample(5_000, torch.Generator().manual_seed(args.seed + 1))
    receipt = {
        "command": f"python -m auxlib train {args.what} --profile {args.profile} --seed {args.seed}",
        "sentences": sentences, "nll": round(lm_nll(model, unseen), 4), "entropy_rate": round(world.entropy_rate, 4),
        "training_flops": training_flops(model, unseen[:8], sentences), "versions": versions(),
    }  # fmt: skip
    out = _checkpoint(args)
    model.save_pretrained(out)
    word_tokenizer(world).save_pretrained(out)
    write_whole(out / "receipt.json", receipt)
    print(f"{receipt['nll']:.3f} nats/token, the truth has {receipt['entropy_rate']:.3f}; saved in {out}")
    return 0


def evaluate_command(args: Namespace) -> int:
    """Measure an auxiliary and write the figures."""
    from auxlib.corpora import load_corpus
    from auxlib.evaluation import draw_frontier, evaluate
    from auxlib.tuned import AuxiliaryTunedLM

    model = AuxiliaryTunedLM.from_pretrained(args.checkpoint) if args.checkpoint else shipped()
    recipe = model.receipt.get("recipe", {})
    corpus = load_corpus(recipe.get("corpus", Recipe.corpus), seed=recipe.get("seed", 0), limit=recipe.get("sentences"))
    figures = evaluate(model, corpus, n=args.n, seed=args.seed)
    figures["command"] = f"python -m auxlib evaluate --n {args.n} --seed {args.seed}"
    out = Path(args.out) if args.out else data_dir() / "results" / "full" / "real.json"
    picture = draw_frontier(figures["frontier"])
    figures["figure"], figures["figure_alt"] = out.with_suffix(".png").name, picture.alt
    write_whole(out, figures)
    out.with_suffix(".png").write_bytes(picture.png)
    low, high = figures["accuracy_ci"]
    print(f"keyword accuracy {figures['accuracy']:.3f} [{low:.3f}, {high:.3f}]  n {figures['n_samples']}")
    print(f"by chance        {figures['base_rate']:.3f}")
    print(f"SLOR {figures['slor']:.2f}  human {figures['slor_human']:.2f}  frozen {figures['slor_frozen']:.2f}")
    print(f"decoding costs {figures['decode_ratio']:.2f} times the frozen model alone")
    return 0


def bench_command(args: Namespace) -> int:
    """Print how fast it is, as ratios to what it is compared with, and keep the figures."""
    from auxlib.bench.report import PARTS, RESULTS, measure

    root = data_dir().parent
    for part in PARTS if args.what == "all" else [args.what]:
        for name, value in measure(part, root).items():
            print(f"{name:28s} {value}")
    print(f"kept in build/bench, and when no part is missing in {RESULTS}")
    return 0


def experiment_command(args: Namespace) -> int:
    """Run an experiment, whole, and record it; of the claim also one seed, and compare with what was recorded."""
    if args.experiment == "claim":
        return _claim(args)
    if args.seed is not None:
        raise CourseError(f"the experiment {args.experiment!r} is run whole: --seed goes with --experiment claim.")
    from auxlib.claim.table import as_markdown

    room, *shown = ROOMS[args.experiment]
    experiment, report, table = (import_module(f"auxlib.{room}.{part}") for part in ("experiment", "report", "table"))
    root = data_dir().parent
    records, spent = experiment.run_experiment(root / "build" / args.experiment, jobs=args.jobs)
    found = report.assemble(records) | report.origin() | {"seconds": round(spent)}
    write_whole(root / table.RESULTS, found)
    for rows in filter(None, (getattr(table, name)(found) for name in shown)):
        print(as_markdown(rows))
    return int(bool(found["failed"]))


def _claim(args: Namespace) -> int:
    from auxlib.claim.campaign import SEEDS, WHOLE, run_campaign
    from auxlib.claim.pictures import illustrate
    from auxlib.claim.report import assemble, curves, differences, load_claim, origin
    from auxlib.claim.results import CURVES, RESULTS
    from auxlib.claim.table import as_lines

    root, seeds = data_dir().parent, SEEDS if args.seed is None else (args.seed,)
    recorded = None if args.seed is None else load_claim(root)
    known = recorded and recorded["settings"]
    records, settings, spent = run_campaign(root / "build" / "claim", WHOLE, seeds, args.jobs, known)
    found = assemble(records, WHOLE.train) | origin() | {"settings": settings, "seconds": round(spent)}
    print("\n".join(as_lines(found)))
    if args.seed is None:
        write_whole(root / RESULTS, found)
        write_whole(root / CURVES, curves(records))
        illustrate(root)
    elif recorded:
        print("\n".join(differences(found, recorded, args.seed)) or "every figure of this seed is as it was recorded.")
    return int(bool(found["failed"]))


def recipe_for(profile: str, seed: int = 0, name: str = SHIPPED) -> Recipe:
    """The recipe of an auxiliary that the course ships; profiles differ in size only."""
    recipe = replace(RECIPES[name], seed=seed)
    return scaled_down(recipe, QUICK.sentences, QUICK.epochs) if profile == "quick" else recipe
