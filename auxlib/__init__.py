"""auxlib: adapt a frozen pre-trained model without training it again.

Three published methods, each in files that can be read in one sitting, in this order:

====================  ===========================================================================================
Auxiliary Tuning      (Zeldes et al. 2020, arXiv 2006.16823)
``product``           the product of experts: ``combine`` is the formula of the whole method
``auxiliary``         the auxiliary model
``sparse_logits``     its logits in compact form: the sum, and the loss without V logits a position
``modeling``          frozen model and auxiliaries as one `transformers` model
``training``          maximum likelihood on cached features
====================  ===========================================================================================

====================  ===========================================================================================
Beside it
``keywords``          keywords as conditions, and the automaton of their progress
``composition``       several conditions and several auxiliaries
``constraints``       a hard guarantee that a keyword is written
``features``          the frozen model's states, computed once
``collator``          batches of them, with conditions drawn anew
``generation``        sampling sentences
``recipes``           how the auxiliaries of the course are trained
``frozen``            loading and freezing a language model
``checkpoint``        saving, loading, resuming
====================  ===========================================================================================

====================  ===========================================================================================
Y-Tuning              (Liu et al. 2022, arXiv 2202.09817): ``classification.encoders``, ``classification.trainer``,
                      ``classification.ytuning``
End-task aware        (Dery et al. 2022, arXiv 2109.07437): ``tartan.objectives``, ``tartan.meta_weights``,
training              ``tartan.trainer``
====================  ===========================================================================================

``data`` fetches models and corpora, ``worlds`` holds Storyland, a language whose exact answers are known, and ``plot``
draws. Importing the package is cheap: the names below are loaded on first use.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
_HOMES = {
    "auxiliary": ("AuxiliaryConfig", "AuxiliaryModel"),
    "frozen": ("Expert", "load_expert"),
    "generation": ("write_sentences",),
    "modeling": ("AuxiliaryTunedLM",),
    "product": ("combine",),
    "recipes": ("Recipe", "load_pretrained", "prepare_data", "train"),
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"auxlib.{module}"), name)
    raise AttributeError(f"module 'auxlib' has no attribute {name!r}")
