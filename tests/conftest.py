"""Shared fixtures, and ``--replay``: committed notebooks compared with a finished run instead of a new one.

``pytest tests notebooks --replay build/quick`` reads each notebook twice, as committed and as executed by papermill,
and compares the outputs of the cells tagged ``nbval-check-output`` (see comparison.py). Cells are paired by id. A
missing run, another source and a missing output are failures, because nothing could be compared.
"""

from __future__ import annotations

import os

# before any import of the hub's client: no test may use a network, and trying to takes long
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest
from nbval.plugin import coalesce_streams

from tests import comparison
from tests.comparison import ComparedCell, ComparedFile
from tests.summary import Summary

if TYPE_CHECKING:
    from datasets import Dataset

    from auxlib.auxiliary import AuxiliaryConfig
    from auxlib.classification.encoders import Encoder
    from auxlib.collator import FeatureCollator
    from auxlib.features import TextTemplate
    from auxlib.frozen import Expert
    from auxlib.modeling import AuxiliaryTunedLM
    from auxlib.worlds.storyland import Storyland
    from tests.grammars import Listed

HERE = Path(__file__).parent
SENTENCES = (
    "The dog barked at the postman.",
    "She plays the violin very well.",
    "A narrow street led down to the harbour.",
    "He wore a grey coat to the meeting.",
    "The lantern lit the narrow street all night.",
    "Dogs and cats slept in the harbour.",
    "Please bring the lantern and the coat.",
    "We heard a violin in the old street.",
)
PREAMBLE = "Sentences:\nThe dog ran.\n"
KEYWORDS = [
    ["dog", "postman"],
    ["violin", "plays"],
    ["harbour", "narrow street"],
    ["coat", "absent"],
    ["lantern", "night"],
    ["dogs", "cats"],
    ["bring", "coat"],
    ["violin"],
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--replay", metavar="DIR", help="compare collected notebooks with their executed twins in DIR")


def pytest_configure(config: pytest.Config) -> None:
    # a plugin of its own: pytest asks a conftest's collection hooks only about files below it
    if config.getoption("--replay"):
        config.pluginmanager.register(Replay(), "replay")
    if not config.pluginmanager.is_registered(comparison):  # -p tests.comparison has done it
        config.pluginmanager.register(comparison)
    config.pluginmanager.register(Summary(), "course-summary")


class Replay:
    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        is_notebook = file_path.suffix == ".ipynb" and file_path.parent.name != "assignments"
        return ReplayFile.from_parent(parent, path=file_path) if is_notebook else None


class ReplayCell(ComparedCell):
    """Test of one cell: it ran without an error and, when tagged, its outputs agree with the committed ones."""

    def runtest(self) -> None:
        done = self.parent.executed.get(self.cell.id)
        if done is None or done.source != self.cell.source:
            self.raise_cell_error("Stale run: papermill did not execute this source; run it again")
        if done.execution_count is None:
            self.raise_cell_error("Papermill stopped before this cell")
        if any(output.output_type == "error" for output in done.outputs):
            self.raise_cell_error("Cell raised an error in papermill's run")
        if not self.options["check"]:
            return
        if self.cell.execution_count is None or not self.cell.outputs:
            self.raise_cell_error("Nothing to compare with: a tagged cell is committed without its outputs")
        if not self.compare_outputs(coalesce_streams(done.outputs), coalesce_streams(self.cell.outputs)):
            self.raise_cell_error("Cell outputs differ", "\n".join(self.comparison_traceback))


class ReplayFile(ComparedFile):
    """Committed notebook; each of its code cells becomes a test."""

    cell_class = ReplayCell
    executed: dict[str, nbformat.NotebookNode]

    def collect(self) -> Iterator[pytest.Item]:
        self.compare_outputs = False  # only tagged cells are compared, as with --nbval-lax
        yield from (item for item in super().collect() if item.cell.source.strip())

    def setup(self) -> None:
        twin = Path(self.config.getoption("--replay")) / self.path.name
        if not twin.is_file():
            pytest.fail(f"{twin} is missing: execute the notebooks first (python -m auxlib run)", pytrace=False)
        self.executed = {cell.id: cell for cell in nbformat.read(twin, 4).cells}
        self.setup_sanitize_files()

    def get_sanitize_files(self) -> list[str | Path]:
        return super().get_sanitize_files() or [path for path in [HERE / "sanitize.cfg"] if path.is_file()]


@pytest.fixture(scope="session")
def make_expert() -> Callable[..., Expert]:
    """A random two-layer Llama with a real byte-level tokenizer. Options go to its config."""

    def make(seed: int = 0, dtype: str = "float32", **options: float) -> Expert:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        from auxlib.frozen import Expert, fingerprint, freeze

        tokenizer = make_tokenizer()
        shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
        settings = {
            "vocab_size": len(tokenizer) + 5,  # padded, as real vocabularies are
            "max_position_embeddings": 256,
            "initializer_range": 0.25,  # at the usual 0.02 a random model is all but uniform, and nothing is tested
            "tie_word_embeddings": True,
            "bos_token_id": 0,
            "eos_token_id": 0,
            **shape,
            **options,
        }
        torch.manual_seed(seed)
        # through bfloat16, so that a half-precision copy of the same expert exists
        model = LlamaForCausalLM(LlamaConfig(**settings)).to(torch.bfloat16).to(getattr(torch, dtype))
        return Expert(freeze(model), tokenizer, f"tiny-{seed}", fingerprint(model))

    return make


def make_tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=310, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", bos_token="<|endoftext|>")


@pytest.fixture(scope="session")
def expert(make_expert: Callable[..., Expert]) -> Expert:
    return make_expert()


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """A random three-layer Bert with a tokenizer of whole words."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    from auxlib.classification.encoders import Encoder
    from auxlib.frozen import fingerprint, freeze

    marks = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    words = sorted({word.strip(".").lower() for text in SENTENCES for word in text.split()})
    vocabulary = {word: i for i, word in enumerate([*marks, ".", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    model = BertModel(BertConfig(vocab_size=len(vocabulary), initializer_range=0.25, **shape))
    known = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]")
    return Encoder(freeze(model), known, "tiny-bert", fingerprint(model), 3)


@pytest.fixture(scope="module")
def world() -> Storyland:
    from auxlib.worlds.storyland import Storyland

    return Storyland.load()


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Listed]:
    """Small grammars by name, with every sentence of theirs."""
    from tests.grammars import TEXTS, Listed, grammar_of

    @lru_cache(None)
    def one(name: str) -> Listed:
        return Listed(grammar_of(TEXTS[name], tmp_path_factory.mktemp(name)))

    return one


@pytest.fixture(scope="session")
def frame(expert: Expert) -> TextTemplate:
    from auxlib.features import TextTemplate

    return TextTemplate.of(expert, PREAMBLE)


@pytest.fixture(scope="session")
def make_tuned(expert: Expert, frame: TextTemplate) -> Callable[..., AuxiliaryTunedLM]:
    """A pair with a random auxiliary whose logits are not zero (``zero_init=False``). Options go to its config."""

    def make(
        config: AuxiliaryConfig | None = None, beside: Expert = expert, whole: bool = False, seed: int = 1, **options
    ) -> AuxiliaryTunedLM:
        import torch

        from auxlib.auxiliary import AuxiliaryConfig, AuxiliaryModel
        from auxlib.features import choose_support, token_groups
        from auxlib.keywords import continuation_mask
        from auxlib.modeling import AuxiliaryTunedLM

        config = config or AuxiliaryConfig(**{"width": 16, "heads": 2, "zero_init": False, **options})
        vocabulary = beside.unembedding.shape[0]
        encoded = [frame.encode(beside, text) for text in SENTENCES]
        support = None if whole else choose_support(encoded, vocabulary, at_least=1)
        groups = token_groups(encoded, continuation_mask(beside.tokenizer, vocabulary), at_least=1)
        torch.manual_seed(seed)
        auxiliary = AuxiliaryModel(config, beside.unembedding.float(), groups, support)
        if not config.zero_init:
            with torch.no_grad():  # a trained auxiliary moves logits by nats, a fresh one by hundredths
                for weight in auxiliary.parameters():
                    weight.mul_(4 if weight.ndim == 2 else 1)
        return AuxiliaryTunedLM(beside, auxiliary.eval(), frame)

    return make


@pytest.fixture(scope="session")
def tuned(make_tuned: Callable[..., AuxiliaryTunedLM]) -> AuxiliaryTunedLM:
    return make_tuned()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for one test."""
    monkeypatch.setenv("AUXLIB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def real_expert() -> Expert:
    """The course's frozen expert, when it has been fetched."""
    from auxlib.data.assets import asset_path
    from auxlib.frozen import load_expert

    if asset_path("smollm2") is None:
        pytest.skip("needs SmolLM2: python -m auxlib fetch smollm2")
    return load_expert("smollm2")


@pytest.fixture(scope="session")
def features(
    expert: Expert,
    frame: TextTemplate,
    make_tuned: Callable[..., AuxiliaryTunedLM],
    tmp_path_factory: pytest.TempPathFactory,
) -> Dataset:
    """The sentences as cached features of the frozen expert."""
    from datasets import Dataset

    from auxlib.features import cache_features

    rows = [{"text": text, "keywords": words} for text, words in zip(SENTENCES, KEYWORDS, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUXLIB_CACHE", str(tmp_path_factory.mktemp("cache")))
        support = make_tuned().auxiliary.support
        return cache_features(expert, Dataset.from_list(rows), frame, support, progress=False)


@pytest.fixture
def make_collator(expert: Expert, frame: TextTemplate) -> Callable[..., FeatureCollator]:
    from auxlib.collator import FeatureCollator

    return lambda kind=FeatureCollator, **options: kind(expert.tokenizer, frame.preamble_ids[-1], **options)
