"""Hard keyword constraints: a logits processor under which no text ends without its words.

An auxiliary makes a keyword likely; this makes it certain, beside any model. Three rules, each only while a word is
missing:

* a text may not end, and a word that was just completed may not grow into another one;
* a word is forced at a good place: after the first third of the room there is for it, at the first place where it fits
  better than at all places before (the rule of the secretary problem, Ferguson 1989);
* when only the room for the missing words is left, they are forced at once.

Axes: ``B`` rows (of each as many as there are beams), ``L`` tokens read so far, ``V`` vocabulary, ``N`` keywords, ``F``
spellings, ``K`` pieces.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor
from transformers import LogitsProcessor

from auxlib.errors import KeywordError
from auxlib.features import CLOSING
from auxlib.keywords import INSIDE, NO_PIECE, KeywordProgress, KeywordState, batched_keyword_progress

if TYPE_CHECKING:
    from auxlib.modeling import AuxiliaryTunedLM

Text: TypeAlias = tuple[int, ...]
LOOK = 1 / 3  # about 1/e: the share of the places that is observed before one is chosen


class KeywordConstraint(LogitsProcessor):
    """Force every keyword of a row before its text ends.

    Args:
        keyword_ids: ``[B, F, K]`` or ``[B, N, F, K]`` from ``keyword_batch``.
        continues: ``[V]`` from ``continuation_mask``.
        closing: ``[C]`` ids of the tokens that close a text.
        spoiling: ``[V]`` from ``boundary_unsafe_mask``, what must not stand right after a word; ``continues`` by
            default.
        start: ``[B]``, how many tokens stand before each row's text, padding included.
        prompt: how many tokens stand in a row before the first new one.
        length: how many new ones there may be.
        spare: how many of those are reserved for the end of the text.

    Raises:
        KeywordError: the words of a row do not fit into the length.
    """

    def __init__(
        self,
        keyword_ids: Tensor,
        continues: Tensor,
        closing: Tensor,
        start: Tensor,
        prompt: int,
        length: int,
        spare: int = 3,
        spoiling: Tensor | None = None,
    ) -> None:
        keyword_ids = keyword_ids.unsqueeze(1) if keyword_ids.dim() == 3 else keyword_ids
        self.keyword_ids, self.continuation_mask, self.closing = keyword_ids.clamp(min=NO_PIECE), continues, closing
        self.spoiling = (continues if spoiling is None else spoiling).nonzero()[:, 0]
        self.start, self.end, self.spare = start, prompt + length, spare
        self.pieces = (self.keyword_ids != NO_PIECE).sum(-1).amax(-1)  # [B, N], in the longer spelling
        self.room = length - spare - self.pieces.sum(1)
        # by the row and the text itself, because texts change places in a beam search
        self.best: dict[Text, list[float]] = {}
        self.taken: set[Text] = set()
        if bool((self.room < -spare).any()):
            raise KeywordError(
                f"the keywords of a row take up to {int(self.pieces.sum(1).max())} tokens, but only {length} may be "
                "written; allow more, or ask for less."
            )

    @classmethod
    def beside(
        cls, model: AuxiliaryTunedLM, inputs: Mapping[str, Tensor], length: int, spare: int = 3
    ) -> KeywordConstraint:
        """Build the constraint for ``model.generate(**inputs, max_new_tokens=length, logits_processor=[...])``."""
        mask = inputs["attention_mask"]
        closing = model.auxiliary.groups[:, CLOSING].clone()
        closing[[model.template.end_id, model.expert_info.end_of_text_id]] = True
        start = mask.shape[1] - mask.sum(1) + len(model.template.preamble_ids)
        ids, spoiling = closing.nonzero()[:, 0], model.boundary_unsafe_mask.to(closing.device) & ~closing
        return cls(inputs["keyword_ids"], model.continuation_mask, ids, start, mask.shape[1], length, spare, spoiling)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the constrained logits ``[B, V]`` of the token after ``input_ids [B, L]``."""
        beams = len(input_ids) // len(self.keyword_ids)
        progress, wanted = self._read(input_ids, beams)
        missing, fresh = wanted & (progress.remaining > 0), (wanted & (progress.state == KeywordState.COMPLETE)).any(1)
        scores = scores.clone()
        scores[missing.any(1).nonzero(), self.closing] = -torch.inf
        scores[fresh.nonzero(), self.spoiling] = -torch.inf
        rows = missing.any(1).nonzero()[:, 0].tolist()
        if rows:
            left = self.end - input_ids.shape[1] - self.spare
            slack = (left - (missing * self.pieces.repeat_interleave(beams, 0)).sum(1)).tolist()
            fits = scores.gather(1, progress.next_piece.clamp(min=0)) - scores.logsumexp(1, keepdim=True)
            by_row: list[list[float]] = fits.masked_fill(~missing, -torch.inf).tolist()
            for row in rows:
                text = (row // beams, *input_ids[row].tolist())
                begun = (missing[row] & (progress.state[row] == KeywordState.PARTIAL)).tolist()
                word = self._choose(text, by_row[row], begun, slack[row])
                if word is not None:
                    self._force(scores[row], int(progress.next_piece[row, word]), (word, *text))
        return scores

    def _choose(self, text: Text, fits: list[float], begun: list[bool], slack: int) -> int | None:
        """Return the missing word whose next piece must be written now, or None.

        Args:
            text: the row's number and its tokens so far.
            fits: log-probability of each word's next piece; ``-inf`` for words that are not missing.
            begun: which of the words are partly written.
            slack: how many tokens may still be written before only the room for the missing words is left.
        """
        best = self.best.get(text[:-1], [-torch.inf] * len(fits))
        # only a word's first piece shows how well it fits
        tops = [top if under_way else max(top, fit) for top, fit, under_way in zip(best, fits, begun, strict=True)]
        self.best[text] = tops
        under_way = [n for n, is_begun in enumerate(begun) if is_begun]
        if taken := [n for n in under_way if (n, *text) in self.taken]:
            return taken[0]
        if slack <= 0:
            return max(under_way or range(len(fits)), key=fits.__getitem__)
        looked = self.end - len(text) + 1 - self.spare < self.room[text[0]] * (1 - LOOK) + self.pieces[text[0]].sum()
        better = [n for n, fit in enumerate(fits) if fit > best[n] > -torch.inf]
        return max(better, key=fits.__getitem__) if better and looked and not under_way else None

    def _force(self, scores: Tensor, token: int, key: Text) -> None:
        """Allow one token alone, with its own score, so that a beam search sees its true probability."""
        own = scores[token].clone().nan_to_num(neginf=0.0)
        scores.fill_(-torch.inf)[token] = own
        self.taken.add((*key, token))

    def _read(self, input_ids: Tensor, beams: int) -> tuple[KeywordProgress, Tensor]:
        """Return the state of every keyword at the end of the text, ``[B, N]`` each, and which keywords are present."""
        keyword_ids, start = (rows.repeat_interleave(beams, 0) for rows in (self.keyword_ids, self.start))
        position = torch.arange(input_ids.shape[1], device=input_ids.device) - (start[:, None] - 1)
        progress = batched_keyword_progress(input_ids, position, keyword_ids, self.continuation_mask)
        return progress.map(lambda field: field[..., -1]), keyword_ids[:, :, INSIDE, 0] != NO_PIECE
