"""The exercises of notebook 12, debug me: the five parts of a training run, repaired."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course.exercises.exercise import Answer, Wrong, exercise, expect, expect_number, expect_tensor, gap

BLANK = 0  # fills rows up and opens every sentence; 1 is the full stop


@exercise(
    "12.1",
    hints=(
        "Write a sentence of three tokens under itself, moved so that each target stands under what may be read.",
        "The targets are the sentences as they are. What may be read before the first word? And before the last?",
        "F.pad(token_ids, (1, 0)) puts <s> in front; [:, :-1] drops the last token, which nothing follows.",
    ),
)
def shifted(token_ids: Tensor) -> tuple[Tensor, Tensor]:
    """What is read and what is predicted at each place: ``[B, T]`` to inputs ``[B, T]`` and targets ``[B, T]``."""
    return F.pad(token_ids, (1, 0), value=BLANK)[:, :-1], token_ids


@shifted.examiner
def _(answer: Answer) -> str:
    token_ids = torch.randint(2, 30, (5, 7))
    token_ids[1, 4:] = token_ids[3, 2:] = BLANK
    kept = token_ids.clone()
    result = answer(token_ids)
    expect(isinstance(result, (tuple, list)) and len(result) == 2, "return two things: inputs, targets.")
    expect(
        torch.equal(token_ids, kept), "your function changes token_ids itself; the next epoch would read the change."
    )
    columns = {part.shape[-1] for part in result if isinstance(part, Tensor) and part.dim() == 2}
    expect(columns != {6}, "T − 1 columns: the first word of every sentence is read but never predicted.")
    inputs, targets = (
        expect_tensor(part, (5, 7), what) for part, what in zip(result, ("inputs", "targets"), strict=True)
    )
    expect(
        not torch.equal(inputs, targets),
        "inputs equal targets: at every place the model reads the very token to be predicted.",
    )
    ahead = torch.equal(inputs[:, :-1], targets[:, 1:])
    expect(not ahead, "the shift goes the wrong way: each place reads the token *after* its target.")
    expect(
        torch.equal(targets, token_ids.double()),
        "the targets must be the sentences as they are: their first word is predicted too.",
    )
    wrapped = torch.equal(inputs[:, 0], targets[:, -1])
    expect(
        not wrapped, "a row without blanks begins with its own full stop: the last token was rolled round to the front."
    )
    expect(bool((inputs[:, 0] == BLANK).all()), "the first place must read <s>, token 0: nothing has been said yet.")
    again = torch.equal(inputs[:, 2:], targets[:, :-2])
    expect(not again, "the inputs lag by two: the model is not told the token just before its target.")
    expect(torch.equal(inputs[:, 1:], targets[:, :-1]), "place t must read token t − 1 and nothing else.")
    return "reads <s> and then each token one place late: nothing sees what it must predict."


@exercise(
    "12.2",
    hints=(
        "A mean is a sum divided by a count. Which positions belong into the sum, and which into the count?",
        "The full stop is token 1, a word like any other. Only token 0 is a blank.",
        "F.cross_entropy takes [N, V] and [N], and has an `ignore_index`, by default −100.",
    ),
)
def masked_nll(joint_logits: Tensor, targets: Tensor) -> Tensor:
    """Nats per token over all tokens that are not blank: ``[B, T, V]`` and ``[B, T]`` to a number."""
    return F.cross_entropy(joint_logits.flatten(0, 1), targets.flatten(), ignore_index=BLANK)


@masked_nll.examiner
def _(answer: Answer) -> str:
    logits = (2 * torch.randn(4, 6, 9, dtype=torch.float64)).requires_grad_()
    targets = torch.randint(2, 9, (4, 6))
    targets[:, -1] = 1
    targets[1::2, 2:] = torch.tensor([1, 0, 0, 0])
    raw = answer(logits, targets)
    value = expect_number(raw.detach() if isinstance(raw, Tensor) else raw, "the loss")
    nll = F.cross_entropy(logits.detach().transpose(1, 2), targets, reduction="none")
    real = targets != BLANK
    muted = F.cross_entropy((logits.detach() * real[..., None]).transpose(1, 2), targets, reduction="none")
    for other, says in (
        (nll.mean(), "the 6 blanks of 24 places are in the mean: the model is paid for predicting nothing."),
        ((nll * real).sum() / 24, "the blanks left the sum but not the count: your loss is 18/24 of the true one."),
        (((nll * real).sum(-1) / real.sum(-1)).mean(), "a mean of means: a word in a short sentence counts more."),
        (nll[targets > 1].mean(), "the full stop is not scored: no sentence would ever learn to end."),
        ((nll * real).sum(), "this is the sum; it grows with the batch. Divide by the number of tokens that count."),
        (muted.mean(), "a blank's logits were set to 0, and so it costs log V; take it out of the loss."),
    ):
        expect(abs(value - float(other)) > 1e-9, says)
    off = abs(value - float(nll[real].mean()))
    expect(off < 1e-9, f"off by {off:.3f} nats from the mean of −log p over the tokens that are not blank.")
    expect(isinstance(raw, Tensor) and raw.requires_grad, "no gradient reaches the logits: keep the loss a tensor.")
    raw.backward()
    if logits.grad is None:
        raise Wrong("no gradient reaches the logits: keep the loss a tensor.")
    expect(not bool(logits.grad[~real].any()), "a blank still has a gradient.")
    longer = answer(F.pad(logits.detach(), (0, 0, 0, 3)), F.pad(targets, (0, 3)))
    expect(abs(float(longer) - value) < 1e-9, "three more columns of blanks change your loss; they say nothing.")
    return "is the mean over 18 tokens of 24 places, and more blanks do not move it."


@exercise(
    "12.3",
    hints=(
        "Two different things must be switched off. Which instrument saw the one that was still on?",
        "Gradients belong to parameters, dropout belongs to modules, however deep they lie.",
        "model.eval() is for all modules, model.requires_grad_(False), with the underscore, for all parameters.",
    ),
)
def frozen(model: nn.Module) -> nn.Module:
    """Switch off gradients and dropout, in place; returns the same model."""
    return model.eval().requires_grad_(False)


class _Noisy(nn.Module):
    """Drops out by a function, as attention does: there is no Dropout module to be found."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.Sequential(self.dropout, nn.Linear(8, 6)))

    def forward(self, inputs: Tensor) -> Tensor:
        return F.dropout(self.layers(inputs), 0.5, self.training)


@frozen.examiner
def _(answer: Answer) -> str:
    model, inputs = _Noisy().train(), torch.randn(16, 6)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    kept = answer(model)
    expect(kept is model, "return the model that you were given, not a copy: the run keeps using it.")
    learning = sum(parameter.requires_grad for parameter in model.parameters())
    noisy = gap(model(inputs).detach(), model(inputs).detach()) > 0
    attribute = "requires_grad" in vars(model)
    expect(
        not attribute,
        "`model.requires_grad = False` only sets an attribute that nobody reads: 4 of 4 parameters still learn.",
    )
    expect(not (noisy and learning), "nothing is frozen: two calls differ, and parameters learn.")
    expect(not learning, f"dropout is off, but {learning} of 4 parameters still ask for a gradient.")
    dropout = model.dropout
    hidden = noisy and (not dropout.training or not isinstance(dropout, nn.Dropout) or dropout.p == 0)
    expect(
        not hidden,
        "the Dropout modules are silent, but this model also drops out by a function that asks `self.training`.",
    )
    expect(not noisy, "no parameter learns, but two calls on one input differ: dropout is still on.")
    same = all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    expect(same, "you changed the weights themselves.")
    return "gives the same answer twice, and none of its parameters can learn."


@exercise(
    "12.4",
    hints=(
        "How many nats can your auxiliary add to a word's logit? How many would it need for a word with p = 0.001?",
        "Logits are added as they are; the only softmax comes afterwards, in the loss.",
        "One line: lm_logits + weight * aux_logits.",
    ),
)
def joint(lm_logits: Tensor, aux_logits: Tensor, weight: float) -> Tensor:
    """The product of two experts as logits: ``[B, T, V]``, ``[B, T, V]`` and λ to ``[B, T, V]``."""
    return lm_logits + weight * aux_logits


@joint.examiner
def _(answer: Answer) -> str:
    lm, aux = 3 * torch.randn(2, 3, 4, 7, dtype=torch.float64)
    kept, weight = lm.clone(), 1.7
    value = expect_tensor(answer(lm, aux, weight), (3, 4, 7), "the joint logits").log_softmax(-1)
    expect(torch.equal(lm, kept), "your function changes lm_logits itself: `+=` writes into the expert's own tensor.")
    p, q = lm.softmax(-1), aux.softmax(-1)
    moved = (value - lm) - (value - lm).mean(-1, keepdim=True)
    for other, says in (
        (lm + weight * q, f"what your auxiliary adds spans at most {weight} nats: it went through a softmax first."),
        (p + weight * q, "both experts went through a softmax first: no logit is above 2.7 now, or below 0."),
        ((p + weight * q).log(), "this is a mixture: probabilities were added, and neither expert can veto."),
        ((1 - weight) * lm + weight * aux, "λ is taken from the expert as well: at λ = 1 it would have no say at all."),
        (weight * (lm + aux), "λ scales both experts, so that λ = 0 is not the expert but a uniform guess."),
        (lm + aux, "λ is not used: the result is that of λ = 1."),
    ):
        expect(gap(value, other.log_softmax(-1)) > 1e-9, says)
    silent = expect_tensor(answer(lm, aux, 0.0), (3, 4, 7), "the joint logits").log_softmax(-1)
    expect(gap(silent, lm.log_softmax(-1)) < 1e-9, "at λ = 0 the result is not the expert's distribution.")
    wanted = weight * (aux - aux.mean(-1, keepdim=True))
    expect(
        gap(moved, wanted) < 1e-9,
        f"centred, the expert's logits moved by up to {float(moved.abs().max()):.2f} and not by λ · aux_logits.",
    )
    aux[..., 2] = -torch.inf
    left = float(expect_tensor(answer(lm, aux, 1.0), (3, 4, 7), "the joint logits").softmax(-1)[..., 2].max())
    expect(left == 0, f"a word that the auxiliary rules out (−∞) keeps a probability of {left:.0e}.")
    return "is the expert at λ = 0, moves by λ · aux_logits, and lets the auxiliary veto."


@exercise(
    "12.5",
    hints=(
        "The optimiser moves whatever it holds. What must it never hold, and what must it not miss?",
        "The auxiliary may share a tensor with the expert. Then auxiliary.parameters() names it as well.",
        "Parameters with the same data_ptr() are one. Keep the auxiliary's whose data_ptr() is none of the model's.",
    ),
)
def trainable(model: nn.Module, auxiliary: nn.Module) -> list[nn.Parameter]:
    """What the optimiser may move: the auxiliary's own parameters, and none that lies in the expert's memory."""
    locked = {parameter.data_ptr() for parameter in model.parameters()}
    return [parameter for parameter in auxiliary.parameters() if parameter.data_ptr() not in locked]


def _pair(tied: bool) -> tuple[nn.Module, nn.Module]:
    """An expert and an auxiliary with its own copy of the expert's embedding, or in the same memory."""
    table = nn.Embedding(9, 4)
    model, weight = nn.Sequential(table, nn.Linear(4, 9)), table.weight.data
    embedding = nn.Embedding.from_pretrained(weight if tied else weight.clone(), freeze=False)
    return model, nn.Sequential(embedding, nn.Linear(4, 5), nn.Linear(5, 9))


@trainable.examiner
def _(answer: Answer) -> str:
    model, auxiliary = _pair(tied=False)
    model.requires_grad_(False)
    found = _listed(answer(model, auxiliary), model, auxiliary)
    thawed = any(parameter.requires_grad for parameter in model.parameters())
    expect(not thawed, "your function lets the expert's parameters learn again; it should only make a list.")
    foreign = _held(found, model)
    expect(not foreign, f"the optimiser would hold {foreign} of the expert's 3 tensors, gradients or not.")
    expect(
        _held(found, auxiliary) == 5,
        f"{5 - _held(found, auxiliary)} of the auxiliary's own 5 tensors are left out: they would never learn.",
    )
    expect(len(found) == 5, f"5 tensors are to be moved, your list has {len(found)}: some stand in it twice.")
    model.requires_grad_(True)
    foreign = _held(_listed(answer(model, auxiliary), model, auxiliary), model)
    expect(
        not foreign,
        f"you rely on requires_grad: of an expert that nobody froze the optimiser would hold {foreign} tensors.",
    )
    model, auxiliary = _pair(tied=True)
    found = _listed(answer(model, auxiliary), model, auxiliary)
    tied = next(model.parameters())
    shared = [parameter for parameter in found if parameter.data_ptr() == tied.data_ptr()]
    expect(
        not shared,
        "an embedding that the auxiliary shares with the expert is in your list: the same memory under two names.",
    )
    expect(_held(found, auxiliary) == 4, "a shared embedding must not cost the auxiliary its other tensors.")
    return "holds all that is the auxiliary's own, and nothing in the expert's memory."


def _listed(found: Any, *modules: nn.Module) -> list[nn.Parameter]:
    """State that the answer is a list of the modules' own parameters."""
    expect(isinstance(found, list), f"return a list of parameters; you returned a {type(found).__name__}.")
    known = sum(_held(found, module) for module in modules)
    expect(known or not found, "your list holds no parameter of either model: names or copies cannot be moved.")
    return found


def _held(found: list[nn.Parameter], module: nn.Module) -> int:
    """How many of a module's parameters are in the list."""
    return sum(any(parameter is item for item in found) for parameter in module.parameters())
