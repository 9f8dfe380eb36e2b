"""Frozen language models: loading, freezing and fingerprints.

An *expert* is a pre-trained causal language model whose parameters are all frozen, with dropout off and a fingerprint
of its weights as evidence. Its final hidden states are therefore a *dataset*, which `features.py` computes once.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from auxlib.errors import AssetError, ExpertMismatch, SettingError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Model = TypeVar("Model", bound=nn.Module)
DEFAULTS = {"expert": "smollm2", "encoder": "minilm"}
DEFAULT_EXPERT = DEFAULTS["expert"]


class Frozen(Protocol):
    """A frozen model with an identity."""

    @property
    def reference(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...


@dataclass(frozen=True)
class Expert:
    """A frozen language model, its tokenizer, and where they came from.

    Attributes:
        model: a causal LM in eval mode with no trainable parameter.
        tokenizer: the model's own.
        reference: the argument of ``load_expert`` that loads it again (an asset's name, a folder or a hub id).
        fingerprint: 16 hexadecimal digits over all weights.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    reference: str
    fingerprint: str

    @property
    def unembedding(self) -> Tensor:
        """The output matrix W, ``[V, D]``: ``lm_logits = hidden @ W.T``."""
        return self.model.get_output_embeddings().weight

    @cached_property
    def end_of_text_id(self) -> int:
        """The token that opens and closes a plain text; instruct models have it beside their chat tokens."""
        return self.tokenizer.get_vocab().get("<|endoftext|>", self.tokenizer.eos_token_id)


def best_dtype(device: torch.device | str = "cpu") -> torch.dtype:
    """Return bfloat16 where the hardware multiplies it fast (GPUs, CPUs with AVX512-BF16 or AMX), else float32.

    The environment variable ``AUXLIB_DTYPE`` overrides the choice: ``float32`` or ``bfloat16``. Machines of different
    kinds compute the same figures with it, up to the last digits.

    Raises:
        SettingError: ``AUXLIB_DTYPE`` holds anything else.
    """
    if forced := os.environ.get("AUXLIB_DTYPE"):
        if forced not in ("float32", "bfloat16"):
            raise SettingError(f"AUXLIB_DTYPE is {forced!r}; set it to float32 or bfloat16, or unset it.")
        return getattr(torch, forced)
    is_gpu = torch.device(device).type == "cuda"
    fast = is_gpu or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast else torch.float32


def best_device() -> torch.device:
    """Return CUDA when there is one, else the CPU; of several GPUs the one that a launcher gave to this process.

    Apple's MPS is never chosen by itself: its losses may differ.
    """
    return torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu")


def load_expert(
    reference: str | Path = DEFAULT_EXPERT,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Expert:
    """Load a causal language model and freeze it.

    Args:
        reference: an asset of `assets.py` (``"smollm2"``), a folder written by ``save_pretrained``, a ``.gguf`` file,
            or any Hugging Face id when there is a network.
        dtype: of the weights; by default what is fast on this machine (see ``best_dtype``).
        device: by default CUDA when there is one, else the CPU.

    Raises:
        AssetError: the asset could not be fetched, or there is no such folder, file or id.
    """
    from transformers import AutoModelForCausalLM

    model, tokenizer = load_frozen(AutoModelForCausalLM, "expert", reference, dtype, device)
    return Expert(model, tokenizer, str(reference), fingerprint(model))


def load_frozen(
    kind: Any,
    role: str,
    reference: str | Path,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model and its tokenizer, and freeze the model.

    Args:
        kind: one of the classes ``AutoModel…`` of `transformers`.
        role: its name in messages, a key of ``DEFAULTS``.
        reference, dtype, device: as for ``load_expert``.
    """
    from transformers import AutoTokenizer

    from auxlib.data.assets import ASSETS, fetch, gguf_options

    device = torch.device(device) if device is not None else best_device()
    if device.type == "mps":
        warnings.warn(
            "losses on Apple's MPS have been far from those on a CPU; compare one before you trust it.", stacklevel=3
        )
    source = fetch(str(reference)) if str(reference) in ASSETS else Path(reference)
    options = {"pretrained_model_name_or_path": source.as_posix()}
    if source.suffix == ".gguf":
        options = gguf_options(source)
    dtype = dtype or best_dtype(device)
    try:
        with _without_bars() if source.is_dir() else nullcontext():  # a download may well show how far it is
            model = kind.from_pretrained(**options, dtype=dtype, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(**{k: v for k, v in options.items() if k != "quantization_config"})
    except OSError as error:
        raise AssetError(
            f"could not load the {role} {str(reference)!r}: {' '.join(str(error).split())} Give {DEFAULTS[role]!r}, "
            "a folder with config.json and safetensors, a .gguf file or, with a network, a Hugging Face id."
        ) from error
    return freeze(model).to(device), tokenizer


@contextmanager
def _without_bars() -> Iterator[None]:
    """Hide progress bars of loads that take a second."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def freeze(model: Model) -> Model:
    """Switch off gradients and dropout, in place; with dropout the model would be another one at every call."""
    return model.eval().requires_grad_(False)


@torch.no_grad()
def fingerprint(model: nn.Module) -> str:
    """Return a short SHA-256 over every weight, the same for a bfloat16 model and its exact float32 copy.

    Equal values before and after training show that the frozen model stayed as it was.
    """
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(weight.shape)}".encode())
        digest.update(weight.detach().to("cpu", torch.float32).contiguous().numpy().data)
    return digest.hexdigest()[:16]


def require_same_expert(expert: Frozen, trained_for: str, what: str) -> None:
    """Raise ``ExpertMismatch`` unless ``trained_for`` is this model's fingerprint."""
    if expert.fingerprint != trained_for:
        raise ExpertMismatch(
            f"{what} was made for the frozen model with fingerprint {trained_for}, but {expert.reference!r} has "
            f"{expert.fingerprint}. Load that model, or train again beside this one."
        )
