"""The library's commands, ``generate`` and ``fetch``; each imports what it needs when it runs."""

from __future__ import annotations

import argparse
import json
import math
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from auxlib.data.assets import data_dir

if TYPE_CHECKING:
    from auxlib.keywords import Keywords
    from auxlib.modeling import AuxiliaryTunedLM

Command: TypeAlias = Callable[[Namespace], int | None]
Add: TypeAlias = Callable[[str, Command, str], argparse.ArgumentParser]


def add_commands(add: Add) -> None:
    """Add the library's commands to the command line."""
    fetch = add("fetch", fetch_command, "fetch models and texts into the cache")
    fetch.add_argument("names", nargs="*", metavar="NAME", help="assets; what the notebooks need without any")
    fetch.add_argument("--all", action="store_true", help="every asset there is")

    generate = add("generate", generate_command, "write sentences that use a keyword, or several")
    words = generate.add_mutually_exclusive_group(required=True)
    words.add_argument(
        "--keyword", type=lambda text: [text], metavar="WORD", dest="keywords", help="a word or short phrase"
    )
    words.add_argument("--keywords", type=_words, metavar="WORD,WORD", help="several, for every sentence")
    generate.add_argument("--prompt", default="", metavar="TEXT", help="how every sentence begins")
    generate.add_argument("--guarantee", action="store_true", help="no sentence is over without its words")
    generate.add_argument("--n", type=positive, default=5, help="how many sentences (default 5)")
    generate.add_argument("--weight", "--lambda", type=float, default=1.0, help="weight λ of the auxiliary (default 1)")
    generate.add_argument("--temperature", type=_number, default=0.8)
    generate.add_argument("--top-p", type=partial(_number, top=1.0), default=0.95)
    generate.add_argument("--max-new-tokens", type=positive, default=24)
    generate.add_argument("--seed", type=int, default=0)
    generate.add_argument("--checkpoint", type=Path, help="a trained auxiliary; a shipped one by default")
    form = generate.add_mutually_exclusive_group()
    form.add_argument("--jsonl", action="store_true", help="one JSON object a sentence, and nothing else")
    form.add_argument("--stream", action="store_true", help="show each sentence while it is written")


def positive(text: str) -> int:
    """Parse a whole number of at least 1, for `argparse`."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _number(text: str, top: float = sys.float_info.max) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= top:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0" + f" and at most {top:g}" * (top < 2))
    return value


def fetch_command(args: Namespace) -> None:
    """Fetch assets and print where each one is."""
    from auxlib.data.assets import ASSETS, fetch

    names = list(ASSETS) if args.all else args.names or _needed_by_the_notebooks()
    for name in names:
        print(f"{name}: {fetch(name)}")


def _needed_by_the_notebooks() -> list[str]:
    """Return the assets that `notebooks/course.toml` names."""
    import tomllib

    from auxlib.data.assets import ASSETS

    table = data_dir().parent / "notebooks" / "course.toml"
    if not table.is_file():  # an installed library, without the course
        return list(ASSETS)
    rows = tomllib.loads(table.read_text(encoding="utf-8"))["notebook"]
    return sorted({need for row in rows for need in row["needs"]})


def generate_command(args: Namespace) -> int:
    """Print n sentences for one keyword or several."""
    from auxlib.generation import write_sentences
    from auxlib.keywords import check_keyword, contains_keyword
    from auxlib.modeling import AuxiliaryTunedLM
    from auxlib.product import check_weight
    from auxlib.recipes import load_pretrained

    words = [check_keyword(word) for word in args.keywords]  # before seconds are spent on loading
    check_weight(args.weight)
    several = len(words) > 1
    model = (
        AuxiliaryTunedLM.from_pretrained(args.checkpoint) if args.checkpoint else load_pretrained(multi_keyword=several)
    )
    options = {name: getattr(args, name) for name in ("weight", "guarantee", "temperature", "top_p", "max_new_tokens")}
    options["start"] = args.prompt
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
            record = {"keywords": words, "text": text, "holds": holds, "lambda": args.weight, "seed": args.seed}
            print(json.dumps(record, ensure_ascii=False))
        return 0
    settings = f"λ = {args.weight:g}, temperature {args.temperature:g}, seed {args.seed}"
    print(f"\n{sum(held)} of {args.n} hold {' and '.join(map(repr, words))}  ({settings})")
    return 0


def _streamed(model: AuxiliaryTunedLM, rows: Sequence[Keywords], seed: int, options: Mapping[str, Any]) -> list[str]:
    """Generate one sentence after another, each shown while it grows."""
    from transformers import TextStreamer

    from auxlib.generation import write_sentences

    streamer = TextStreamer(model.expert_info.tokenizer, skip_prompt=True, skip_special_tokens=True)
    texts = []
    for i, row in enumerate(rows):
        print(options["start"], end="", flush=True)
        texts += write_sentences(model, [row], seed=seed + i, streamer=streamer, **options)
    return texts
