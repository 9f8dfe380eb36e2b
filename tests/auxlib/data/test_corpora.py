"""Corpora come out clean, split by headword, and the held-out words stay held out."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from datasets import DatasetDict

from auxlib.data.corpora import FUNCTION_WORDS, clean_sentence, content_words, load_corpus
from auxlib.errors import CorpusError

NOUNS = [
    a + b
    for a in ("lan", "har", "vio", "mar", "cas", "ped", "sil", "tor")
    for b in ("tern", "bour", "lin", "ket", "tle", "al", "ver", "rent", "mon", "dow")
]
LICENCE = "  1 This software and database is being provided to you, the LICENSEE\n"


def sentences(seed: int, count: int = 600) -> list[str]:
    draw = random.Random(seed)
    return [
        f"{draw.choice(NOUNS).capitalize()} meets {draw.choice(NOUNS)} near the {draw.choice(NOUNS)}."
        for _ in range(count)
    ]


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n\n".join(sentences(0)), encoding="utf-8")
    return path


def synset(lemmas: list[str], gloss: str) -> str:
    words = " ".join(f"{lemma.replace(' ', '_')} 0" for lemma in lemmas)
    return f"00001740 03 n {len(lemmas):02x} {words} 001 ~ 00001930 n 0000 | {gloss}  \n"


@pytest.fixture
def wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dictionary of three parts in WordNet's format."""
    folder = tmp_path / "dict"
    folder.mkdir()
    (folder / "data.noun1").write_text(
        LICENCE
        + synset(["lantern", "oil lamp"], 'a light; "the lantern lit the narrow street"; "she filled the oil lamp"')
        + synset(["Paris"], 'a city; "Paris is lovely in the spring"; "too short"')
        + synset(["entity"], "a thing without examples")
    )
    (folder / "data.verb").write_text(
        LICENCE
        + synset(["carry", "take"], 'to bring; "you must carry the lantern"; "`carry on,` he said to them"')
        + synset(["take"], 'doubled; "you must carry the lantern"')
    )
    (folder / "data.adj").write_text(synset(["narrow(a)"], 'not wide; "a narrow lane between tall houses"'))
    monkeypatch.setattr("auxlib.data.corpora.fetch", lambda name: folder)
    return folder


def rows(corpus: DatasetDict) -> Iterator[dict]:
    for part in corpus.values():
        yield from part


def heads(corpus: DatasetDict, part: str) -> set[str]:
    return {row["keywords"][0].casefold() for row in corpus[part]}


# --- splitting ---


@pytest.mark.parametrize("seed", range(4))
def test_splits_share_no_headword(text_file: Path, seed: int) -> None:
    corpus = load_corpus(text_file, seed=seed)
    assert set(corpus) == {"train", "dev", "test"}
    train, dev, test = (heads(corpus, part) for part in ("train", "dev", "test"))
    assert not train & dev
    assert not train & test
    assert not dev & test


@pytest.mark.parametrize("seed", range(4))
def test_held_out_words_are_never_offered_in_training(text_file: Path, seed: int) -> None:
    corpus = load_corpus(text_file, seed=seed)
    offered = {word.casefold() for row in corpus["train"] for word in row["keywords"]}
    held_out = heads(corpus, "dev") | heads(corpus, "test")
    assert held_out
    assert not offered & held_out
    assert any(word in row["text"] for row in corpus["train"] for word in held_out), "they may be read, not asked for"


def test_the_same_seed_gives_the_same_split_and_another_one_another(text_file: Path) -> None:
    one, same, other = (load_corpus(text_file, seed=seed) for seed in (0, 0, 1))
    assert [part.to_list() for part in one.values()] == [part.to_list() for part in same.values()]
    assert heads(one, "test") != heads(other, "test")


def test_more_text_moves_no_headword(text_file: Path) -> None:
    before = {part: heads(load_corpus(text_file), part) for part in ("dev", "test")}
    text_file.write_text("\n".join(sentences(1) + sentences(0)), encoding="utf-8")
    after = {part: heads(load_corpus(text_file), part) for part in ("train", "dev", "test")}
    assert before["test"] <= after["test"]
    assert before["dev"] <= after["dev"]


def test_a_limit_keeps_so_many_and_a_tenth_of_the_held_out(text_file: Path) -> None:
    whole, few = load_corpus(text_file), load_corpus(text_file, limit=50)
    assert len(few["train"]) == 50
    assert len(few["dev"]) == len(few["test"]) == 5
    assert set(few["train"]["text"]) <= set(whole["train"]["text"])


# --- the dictionary ---


def test_the_dictionarys_examples_become_sentences_with_their_headword_first(wordnet: Path) -> None:
    found = {row["text"]: row["keywords"] for row in rows(load_corpus())}
    assert set(found) == {
        "The lantern lit the narrow street.",
        "She filled the oil lamp.",
        "Paris is lovely in the spring.",
        "You must carry the lantern.",
        "'carry on,' he said to them.",
        "A narrow lane between tall houses.",
    }
    assert found["She filled the oil lamp."][0] == "oil lamp"
    assert found["A narrow lane between tall houses."][0] == "narrow"
    assert found["Paris is lovely in the spring."][0] == "Paris"
    assert "lantern" in found["You must carry the lantern."]


def test_every_headword_is_in_its_sentence_and_marked(wordnet: Path) -> None:
    for row in rows(load_corpus()):
        assert row["has_headword"]
        assert all(word.lower() in row["text"].lower() for word in row["keywords"])


def test_no_wordnet_at_all_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from auxlib.errors import AssetError

    def unreachable(name: str) -> Path:
        raise AssetError("could not get wordnet")

    monkeypatch.setattr("auxlib.data.corpora.fetch", unreachable)
    monkeypatch.setattr("auxlib.data.corpora._SYSTEM_WORDNETS", ())
    with pytest.raises(AssetError, match="could not get wordnet"):
        load_corpus()


# --- one's own text ---


def test_a_text_file_gives_a_row_for_each_line_with_its_content_words(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_text("The old  lantern broke today.\n\ntoo short\nThey are all in it\n", encoding="utf-8")
    found = list(rows(load_corpus(path)))
    assert [row["text"] for row in found] == ["The old lantern broke today."]
    assert set(found[0]["keywords"]) <= {"old", "lantern", "broke", "today"}
    assert not found[0]["has_headword"]


def test_a_jsonl_file_may_bring_its_own_keywords(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    lines = [{"text": f"The lantern number {n} broke today.", "keywords": [f"word{n}", "lantern"]} for n in range(40)]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    found = list(rows(load_corpus(path)))
    assert len(found) == 40
    assert all(row["keywords"][0].startswith("word") for row in found)


@pytest.mark.parametrize("name", ["no-such-corpus", "no/such-corpus", "nowhere.txt", "nowhere.jsonl"])
def test_an_unknown_corpus_is_named_with_what_is_known(name: str) -> None:
    with pytest.raises(CorpusError, match=rf"could not read corpus '{name}'.*wordnet-examples"):
        load_corpus(name)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "holds no sentence"),
        ("words.txt", b"one\ntwo\nit is not so\n", "holds no sentence"),
        ("latin.txt", "Ein schöner großer Garten\n".encode("latin-1"), "could not read"),
        ("other.jsonl", b'{"body": "The lantern broke today."}\n', "needs a column 'text', it has"),
        ("broken.jsonl", b'{"text": "The lantern', "could not read"),
        ("loose.jsonl", b'{"text": "The old lantern broke today.", "keywords": "lantern"}\n', "list of words"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=message) as caught:
        load_corpus(tmp_path / name)
    assert "\n" not in str(caught.value)


# --- sentences and words ---


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("he ran", "He ran."),
        ("  what   a\tday!", "What a day!"),
        ("is it?", "Is it?"),
        ("first, then;", "First, then."),
        ("`tis", "'tis."),
        ("élan", "Élan."),
        ("", ""),
    ],
)
def test_a_fragment_becomes_a_sentence(text: str, clean: str) -> None:
    assert clean_sentence(text) == clean


@pytest.mark.parametrize("text", ["he ran", "What a day!", "a - b -", "x"])
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert clean_sentence(clean_sentence(text)) == clean_sentence(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The dog saw the dog.", ["dog", "saw"]),
        ("Lanterns of Paris glow.", ["lanterns", "Paris", "glow"]),
        ("He didn't take his mother-in-law's coat", ["take", "mother-in-law's", "coat"]),
        ("It is 42 or x7 up", []),
        ("Ωmega naïve", ["ωmega", "naïve"]),
        ("", []),
    ],
)
def test_content_words_are_the_distinct_words_that_mean_something(text: str, words: list[str]) -> None:
    assert content_words(text) == words


def test_no_function_word_is_ever_a_keyword() -> None:
    assert content_words(" ".join(sorted(FUNCTION_WORDS))) == []
