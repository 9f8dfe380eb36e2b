"""What do `generate`, `train`, `evaluate` and `bench` print? The command line's side of the main job."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from auxlib.assets import data_dir
from auxlib.errors import CourseError
from auxlib.recipes import QUICK, SHIPPED, Recipe, material, shipped, train, write_sentences
from auxlib.trials import write_whole


def generate_command(args: Namespace) -> int:
    """Print n sentences around a keyword."""
    from auxlib.keywords import check_keyword, contains_keyword
    from auxlib.product import as_weight
    from auxlib.tuned import AuxiliaryTunedLM

    check_keyword(args.keyword)  # before seconds are spent on loading
    as_weight(args.weight, args.n)
    model = AuxiliaryTunedLM.from_pretrained(args.checkpoint) if args.checkpoint else shipped()
    texts = write_sentences(
        model, [args.keyword] * args.n, weight=args.weight, seed=args.seed,
        temperature=args.temperature, top_p=args.top_p, max_new_tokens=args.max_new_tokens,
    )  # fmt: skip
    for text in texts:
        print(text)
    hits = sum(contains_keyword(text, args.keyword) for text in texts)
    settings = f"λ = {args.weight:g}, temperature {args.temperature:g}, seed {args.seed}"
    print(f"\n{hits} of {args.n} hold {args.keyword!r}  ({settings})")
    return 0


def train_command(args: Namespace) -> int:
    """Train what the course ships, the auxiliary or Storyland's language model, and save it with its receipt."""
    return _train_auxiliary(args) if args.what == SHIPPED else _train_story_lm(args)


def _train_auxiliary(args: Namespace) -> int:
    recipe = recipe_for(args.profile, args.seed)
    stuff = material(recipe)
    print(f"{len(stuff.train)} sentences, support of {len(stuff.support)} tokens, expert {stuff.expert.fingerprint}")
    model, run = train(stuff, output_dir=f"build/training/{args.profile}")
    model.receipt["command"] = f"python -m auxlib train --profile {args.profile} --seed {args.seed}"
    out = Path(args.out) if args.out else data_dir() / "checkpoints" / SHIPPED
    model.save_pretrained(out)
    curve = {"steps": run.steps, "losses": run.losses, **model.receipt}
    write_whole(data_dir() / "results" / args.profile / "real_training.json", curve)
    print(f"dev {run.dev_loss:.3f} nats/token after {run.minutes:.1f} minutes; saved in {out}")
    return 0


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
    out = Path(args.out) if args.out else data_dir() / "checkpoints" / args.what
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
    """Print how fast it is: decoding against the frozen model, training with against without the cache, Storyland."""
    from auxlib import benchmarks

    known = {"decode": benchmarks.decode, "train": benchmarks.train, "storyland": benchmarks.storyland}
    if args.what not in known:
        raise CourseError(f"unknown benchmark {args.what!r}; known are {', '.join(known)}.")
    figures = known[args.what]()
    for name, value in figures.items():
        print(f"{name:24s} {value}")
    if args.out:
        write_whole(Path(args.out), figures)
    return 0


def experiment_command(args: Namespace) -> int:
    """Run an experiment, whole, and record it; of the claim also one seed, and compare with what was recorded."""
    return _rivals(args) if args.experiment == "rivals" else _claim(args)


def _rivals(args: Namespace) -> int:
    from auxlib.claim.table import as_markdown
    from auxlib.rivals.experiment import run_experiment
    from auxlib.rivals.report import assemble, origin
    from auxlib.rivals.table import RESULTS, rows

    if args.seed is not None:
        raise CourseError("the experiment 'rivals' is run whole: --seed goes with --experiment claim.")
    root = data_dir().parent
    records, spent = run_experiment(root / "build" / "rivals", args.jobs)
    found = assemble(records) | origin() | {"seconds": round(spent)}
    print(as_markdown(rows(found)))
    write_whole(root / RESULTS, found)
    return int(bool(found["failed"]))


def _claim(args: Namespace) -> int:
    from auxlib.claim.campaign import SEEDS, WHOLE, maker, run_campaign
    from auxlib.claim.pictures import illustrate
    from auxlib.claim.report import assemble, curves, differences, load_claim
    from auxlib.claim.results import CURVES, RESULTS
    from auxlib.claim.table import as_lines

    root, seeds = data_dir().parent, SEEDS if args.seed is None else (args.seed,)
    recorded = None if args.seed is None else load_claim(root)
    known = recorded and recorded["settings"]
    records, settings, spent = run_campaign(root / "build" / "claim", WHOLE, seeds, args.jobs, known)
    found = assemble(records, WHOLE.train) | {"made_by": maker(), "settings": settings, "seconds": round(spent)}
    print("\n".join(as_lines(found)))
    if args.seed is None:
        write_whole(root / RESULTS, found)
        write_whole(root / CURVES, curves(records))
        illustrate(root)
    elif recorded:
        print("\n".join(differences(found, recorded, args.seed)) or "every figure of this seed is as it was recorded.")
    return int(bool(found["failed"]))


def recipe_for(profile: str, seed: int = 0) -> Recipe:
    """The recipe of a profile; only its size differs."""
    from dataclasses import replace

    return replace(QUICK if profile == "quick" else Recipe(), seed=seed)
