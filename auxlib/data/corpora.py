"""Corpora for keyword-conditioned generation, as a ``datasets.DatasetDict``.

Each row is a sentence: ``text``, and ``keywords``, the words of it that can serve as a condition, beginning with the
dictionary's headword if there is one. The splits ``train``, ``dev`` and ``test`` share no first keyword.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from auxlib.data.assets import fetch
from auxlib.errors import AssetError, CorpusError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
# Words that carry grammar rather than content: "the" as a keyword would control nothing.
FUNCTION_WORDS = frozenset(
    """
    a about above after again against all am an and any are aren't as at be because been before being below between
    both but by can can't cannot could couldn't did didn't do does doesn't doing don't down during each either every
    few for from further had hadn't has hasn't have haven't having he he'd he'll he's her here hers herself him
    himself his how i i'd i'll i'm i've if in into is isn't it it's its itself just let's like many may me might
    more most much must my myself neither no nor not of off on once one only or other ought our ours ourselves out
    over own same shall shan't she she'd she'll she's should shouldn't so some such than that that's the their
    theirs them themselves then there there's these they they'd they'll they're they've this those through to too
    under until up upon us very was wasn't we we'd we'll we're we've were weren't what when where which while who
    whom whose why will with within without won't would wouldn't yet you you'd you'll you're you've your yours
    yourself
    """.split()
)
_WORDNET_FILES = ("data.noun1", "data.noun2", "data.noun", "data.verb", "data.adj", "data.adv")
_SYSTEM_WORDNETS = (
    Path("/usr/share/wordnet"),
    Path.home() / "nltk_data/corpora/wordnet",
    Path("/usr/share/nltk_data/corpora/wordnet"),
)


def load_corpus(name: str | Path = "wordnet-examples", seed: int = 0, limit: int | None = None) -> DatasetDict:
    """Load a corpus as ``train`` / ``dev`` / ``test``.

    Args:
        name: ``"wordnet-examples"``; a ``.txt`` file with one sentence per line; a ``.jsonl`` file or a hub id with a
            ``text`` column and an optional ``keywords`` column.
        seed: assigns first keywords to splits; the same seed gives the same split on every machine.
        limit: maximum number of training sentences; dev and test keep a tenth of it.

    Raises:
        CorpusError: no such corpus, no ``text`` column, or nothing left after cleaning.
    """
    from datasets import Dataset, DatasetDict

    records = list(_wordnet_records() if str(name) == "wordnet-examples" else _other_records(str(name)))
    if not records:
        raise CorpusError(f"corpus {name!s} holds no sentence of four words or more with a content word in it.")
    parts: dict[str, list[dict]] = {"train": [], "dev": [], "test": []}
    for record in records:
        parts[_split_of(record["keywords"][0], seed)].append(record)
    _drop_held_out_keywords(parts, seed)
    full = DatasetDict({part: Dataset.from_list(rows) for part, rows in parts.items() if rows})
    return full if limit is None else DatasetDict({part: _sample(rows, limit, part) for part, rows in full.items()})


def clean_sentence(text: str) -> str:
    """Normalise white space, capitalise the first letter and add a full stop: WordNet's examples are fragments."""
    text = " ".join(text.replace("`", "'").split())
    text = text[:1].upper() + text[1:]
    return text if text[-1:] in ".!?" else text.rstrip(",;:-") + "."


def content_words(text: str) -> list[str]:
    """Return the distinct words of a sentence that can be its keyword, in order and as written.

    The first word is lower-cased, because its capital marks the position. Function words and words of fewer than three
    letters are left out.
    """
    words: dict[str, None] = {}
    for match in WORD.finditer(text):
        word = match.group().lower() if match.start() == 0 else match.group()
        if len(word) > 2 and word.lower() not in FUNCTION_WORDS:
            words.setdefault(word)
    return list(words)


def text_hash(texts: Iterable[str]) -> str:
    """Return a sha256 over texts in their order; equal hashes in two receipts mean the same training texts."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _wordnet_records() -> Iterator[dict]:
    """Yield WordNet's example sentences; a lemma of the sentence's own synset comes first among the keywords."""
    seen: set[str] = set()
    for fields, gloss in _wordnet_lines():
        lemmas = _lemmas(fields)
        for example in _examples(gloss):
            text = clean_sentence(example)
            words = content_words(text)
            if text in seen or len(text.split()) < 4 or not words:
                continue
            seen.add(text)
            head = next((form for lemma in lemmas if (form := _form_in(lemma, text))), None)
            keywords = [head, *(word for word in words if word != head)] if head else words
            yield {"text": text, "keywords": keywords, "has_headword": head is not None}


def wordnet_glosses(n: int) -> list[str]:
    """Return n definitions of WordNet without their examples, evenly spaced over the dictionary."""
    glosses = [_definition(gloss) for _, gloss in _wordnet_lines()]
    return glosses[:: max(1, len(glosses) // n)][:n]


def wordnet_senses() -> Iterator[tuple[str, str, str]]:
    """Yield a word, the definition of one of its senses, and an example sentence of that sense that contains it."""
    for fields, gloss in _wordnet_lines():
        for example in _examples(gloss):
            if word := next((lemma for lemma in _lemmas(fields) if _form_in(lemma, example)), None):
                yield word, _definition(gloss), example


def _form_in(lemma: str, text: str) -> str | None:
    """Return the lemma as written in the text, or None; at the first position its capital is not kept."""
    match = re.search(rf"(?<!\w){re.escape(lemma)}(?!\w)", text, re.IGNORECASE)
    if match is None or len(lemma) < 2 or lemma.lower() in FUNCTION_WORDS:
        return None
    return lemma if match.start() == 0 else match.group()


def _lemmas(fields: str) -> list[str]:
    field = fields.split()
    return [re.sub(r"\(\w+\)$", "", field[4 + 2 * i]).replace("_", " ") for i in range(int(field[3], 16))]


def _definition(gloss: str) -> str:
    return " ".join(gloss.split('"')[0].split()).rstrip(";: ")


def _examples(gloss: str) -> list[str]:
    return re.findall(r'"([^"]+)"', gloss)


def _wordnet_lines() -> Iterator[tuple[str, str]]:
    """Yield every synset's fields and gloss from the data files of WordNet 3.0."""
    folder = _wordnet_folder()
    for path in (folder / name for name in _WORDNET_FILES if (folder / name).is_file()):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if not line.startswith("  ") and " | " in line:
                fields, gloss = line.split(" | ", 1)
                yield fields, gloss


def _wordnet_folder() -> Path:
    """Return the pinned copy, so that splits are the same everywhere; without it, a copy installed on the system."""
    try:
        return fetch("wordnet")
    except AssetError:
        for folder in _SYSTEM_WORDNETS:
            if (folder / "data.verb").is_file():
                return folder
        raise


def _other_records(name: str) -> Iterator[dict]:
    for row in _read_rows(name):
        if "text" not in row:
            raise CorpusError(f"corpus {name!r} needs a column 'text', it has {sorted(row)}.")
        text = " ".join(str(row["text"]).split())
        words = row.get("keywords") or content_words(text)
        if not isinstance(words, list):
            raise CorpusError(f"corpus {name!r}: 'keywords' must hold a list of words for each text, not {words!r}.")
        if len(text.split()) >= 4 and words:
            yield {"text": text, "keywords": words, "has_headword": False}


def _read_rows(name: str) -> Iterable[dict]:
    from datasets import load_dataset

    path = Path(name)
    try:
        if path.suffix == ".txt" and path.is_file():
            return ({"text": line} for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
        if path.suffix in {".jsonl", ".json"}:
            return load_dataset("json", data_files=name, split="train")
        return load_dataset(name, split="train")
    except Exception as error:  # the hub, pyarrow and requests each raise their own
        raise CorpusError(
            f"could not read corpus {name!r}: {error}. Known here: 'wordnet-examples', a .txt or .jsonl file; "
            "with a network also a Hugging Face dataset id."
        ) from error


def _split_of(word: str, seed: int) -> str:
    """Return a word's split (90 % train, 5 % dev, 5 % test), by its hash: adding texts moves no other word."""
    fraction = hash_fraction(word, seed)
    return "train" if fraction < 0.9 else "dev" if fraction < 0.95 else "test"


def hash_fraction(text: str, seed: int) -> float:
    """Return a number in [0, 1) from a hash of the text, ignoring case; the same on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{text.casefold()}".encode()).digest()[:4], "big") / 2**32


def _drop_held_out_keywords(parts: dict[str, list[dict]], seed: int) -> None:
    """Remove held-out words from the keywords of training sentences, wherever they stand in the list."""
    for record in parts["train"]:
        record["keywords"] = [word for word in record["keywords"] if _split_of(word, seed) == "train"]


def _sample(rows: Dataset, limit: int, part: str) -> Dataset:
    count = limit if part == "train" else max(1, limit // 10)
    return rows.shuffle(seed=0).select(range(min(count, len(rows))))
