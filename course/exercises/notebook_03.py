"""The exercises of notebook 03, learning the missing expert."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auxlib.product import kl
from course.exercises.exercise import Answer, exercise, expect, expect_tensor, gap
from course.letters import LetterWorld


@exercise(
    "3.1",
    hints=(
        "Which distribution wrote the text: the language model, the auxiliary, or their product?",
        "Add the logits first, then one log_softmax over the last axis. Which entry belongs to the letter that came?",
        "log_probs.gather(-1, targets.unsqueeze(-1)).squeeze(-1) is [B, T]; minus its sum over T is the answer.",
    ),
)
def auxiliary_loss(lm_logits: Tensor, aux_logits: Tensor, targets: Tensor) -> Tensor:
    """Loss of each text under the product, in nats: ``[B, T, V]``, ``[B, T, V]`` and letters ``[B, T]`` to ``[B]``."""
    log_probs = (lm_logits + aux_logits).log_softmax(-1)
    return -log_probs.gather(-1, targets.unsqueeze(-1)).squeeze(-1).sum(-1)


@auxiliary_loss.examiner
def _(answer: Answer) -> str:
    lm, aux = 2 * torch.randn(2, 4, 3, 5, dtype=torch.float64)
    targets = torch.randint(5, (4, 3))
    raw = answer(lm, aux.requires_grad_(), targets)
    if isinstance(raw, Tensor) and raw.dim() == 0:
        expect(False, "this is one number for the whole batch; keep one loss for each text, their weights come later.")
    value, aux = expect_tensor(raw, (4,), "the loss"), aux.detach()
    oracle = _spelled_out(lm, aux, targets)
    for other, says in _other_losses(lm, aux, targets):
        expect(gap(value, other) > 1e-9, says)
    shift = gap(expect_tensor(answer(lm, aux + 5, targets), (4,), "the loss"), value)
    expect(shift < 1e-9, f"adding 5 to all auxiliary logits changes your loss by {shift:.1f}; softmax must not notice.")
    expect(gap(value, oracle) < 1e-9, f"off by up to {gap(value, oracle):.3f} nats from −Σ log softmax(lm + aux)[x_t].")
    expect(raw.requires_grad, "no gradient reaches aux_logits: the auxiliary is detached, and it is what must learn.")
    aux[..., 0] = -1000.0
    far = expect_tensor(answer(lm, aux, torch.zeros_like(targets)), (4,), "the loss of a letter with logit −1,000")
    expect(
        far.isfinite().all(),
        "a very unlikely letter gets an infinite loss: take log_softmax, not softmax and then log.",
    )
    return "is −log of the product on random texts, and its gradient reaches the auxiliary."


def _spelled_out(lm: Tensor, aux: Tensor, targets: Tensor) -> Tensor:
    """Return the loss letter by letter, with probabilities multiplied and renormalised by hand."""
    product = lm.exp() * aux.exp()
    probs = product / product.sum(-1, keepdim=True)
    rows = [[probs[b, t, targets[b, t]] for t in range(targets.shape[1])] for b in range(len(targets))]
    return torch.stack([-torch.stack(row).log().sum() for row in rows])


def _other_losses(lm: Tensor, aux: Tensor, targets: Tensor) -> list[tuple[Tensor, str]]:
    """Return common wrong values, each with its message."""

    def sums(log_probs: Tensor) -> Tensor:
        return -log_probs.gather(-1, targets.unsqueeze(-1)).squeeze(-1).sum(-1)

    return [
        (sums(aux.log_softmax(-1)), "the language model is missing: this is the loss of the auxiliary alone."),
        (sums(lm.log_softmax(-1)), "the auxiliary is missing: this is the loss of the language model alone."),
        (
            sums(((lm.softmax(-1) + aux.softmax(-1)) / 2).log()),
            "this is the loss of a mixture: you averaged probabilities; a product adds logits.",
        ),
        (
            sums(lm.log_softmax(-1) + aux.log_softmax(-1)),
            "the product is not renormalised: two log-softmaxes add up to something that does not sum to one.",
        ),
        (
            sums((lm + aux).softmax(-1).log_softmax(-1)),
            "there are two softmaxes in a row: cross_entropy takes logits, and you gave it probabilities.",
        ),
        (
            sums((lm + aux).log_softmax(-1)) / targets.shape[1],
            "this is the loss per letter; a text costs the sum over its letters.",
        ),
        (
            sums((lm + aux).log_softmax(1)),
            "the softmax runs over positions, so letters of one text compete; it belongs on the last axis.",
        ),
    ]


@exercise(
    "3.2",
    hints=(
        "One KL for each row, then an average of rows. Which rows matter more?",
        "joint_logits are not normalised; log_softmax them. And what is 0 · log 0 in floating point?",
        "auxlib.product.kl(truth.log(), joint_logits.log_softmax(-1)) is [R]; weight it by reach and sum.",
    ),
)
def exact_kl(truth: Tensor, joint_logits: Tensor, reach: Tensor) -> Tensor:
    """KL from truth to policy in nats per text: ``[R, V]`` probabilities, ``[R, V]`` logits, ``[R]`` to a number."""
    return (reach * kl(truth.log(), joint_logits.log_softmax(-1))).sum()


@exact_kl.examiner
def _(answer: Answer) -> str:
    for seed in range(3):
        truth, joint, reach, whole = _two_worlds(seed)
        value = _number(answer(truth, joint + 2.0, reach))
        log_q = joint.log_softmax(-1)
        rows, back = kl(truth.log(), log_q), kl(log_q, truth.log())
        cross = float(-(reach[:, None] * truth * log_q).sum())
        for other, says in (
            (
                float(rows.mean()),
                "this is the plain mean of the rows; a row counts as often as texts come by, by reach.",
            ),
            (float(rows.sum()), "this is the plain sum of the rows; a row counts as often as texts come by, by reach."),
            (
                float((reach * back).sum()),
                "this is KL(policy‖truth), the other direction; examples come from the truth.",
            ),
            (
                float((reach * rows).sum() / reach.sum()),
                f"this is the distance per letter; without dividing by {reach.sum():.0f} it is the distance per text.",
            ),
            (
                cross,
                "this is the cross entropy; it is not zero for a perfect policy, the truth's entropy is still in it.",
            ),
        ):
            expect(abs(value - other) > 1e-9, says)
        shift = abs(_number(answer(truth, joint, reach)) - value)
        expect(shift < 1e-9, f"adding 2 to all joint logits changes the distance by {shift:.1f}: normalise them first.")
        error = abs(value - whole)
        expect(error < 1e-9, f"off by {error:.3f} nats from the KL between whole texts, found by listing them.")
    truth = torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64)
    sure = answer(truth, truth.clamp(min=1e-9).log(), torch.ones(1, dtype=torch.float64))
    expect(not math.isnan(sure), "a letter with true probability 0 makes it NaN: 0 · log 0 must count as 0.")
    expect(abs(sure) < 1e-6, f"truth [0.5, 0.5, 0] against itself gives {float(sure):.3f}; it should be 0.")
    return "is the KL between whole texts on 3 random pairs of worlds: the chain rule adds up the rows."


def _number(value: object) -> float:
    """Return the distance as a number; anything else is `Wrong`."""
    single = isinstance(value, float) or (isinstance(value, Tensor) and value.dim() == 0)
    expect(single, "return one number: the rows, weighted by reach, are to be summed.")
    return float(expect_tensor(torch.as_tensor(value), (), "the distance"))


def _two_worlds(seed: int) -> tuple[Tensor, Tensor, Tensor, float]:
    """Return truth, policy and reach for every prefix of two random worlds, and the KL between their whole texts."""
    one, two = (LetterWorld.random("abc", length=3, seed=2 * seed + i) for i in range(2))
    truth, joint = (torch.stack([world.next_log_probs(prefix) for prefix in world.prefixes]) for world in (one, two))
    whole = float(kl(one.probs.log(), two.probs.log()))
    return truth.exp(), joint, one.log_prob(one.prefixes).exp(), whole


@exercise(
    "3.3",
    hints=(
        "What must the output be for every input, if the product is to be the language model?",
        "Only the last layer decides the output at step 0. It has two parameters.",
        "nn.init.zeros_(layers[-1].weight), the same for the bias, and return layers.",
    ),
)
def zero_start(layers: nn.Sequential) -> nn.Sequential:
    """Initialise a network as the zero auxiliary, in place, such that it can learn; return the same network."""
    for parameter in layers[-1].parameters():
        nn.init.zeros_(parameter)
    return layers


@zero_start.examiner
def _(answer: Answer) -> str:
    first, last = nn.Linear(4, 6), nn.Linear(6, 3)
    layers, inputs = nn.Sequential(first, nn.Tanh(), last), torch.randn(8, 4)
    trunk = first.weight.detach().clone()
    started = answer(layers)
    expect(started is layers, "return the network that you were given; its trunk is needed as it is.")
    expect(
        len(list(started.parameters())) == 4, "a parameter was replaced by a plain tensor: the optimiser would miss it."
    )
    expect(
        started[2].weight.requires_grad and started[2].bias.requires_grad, "the last layer is frozen; it must learn."
    )
    worst = float(started(inputs).detach().abs().max())
    if bool((started[2].weight == 0).all()):
        expect(
            worst == 0, f"the weight is zero but the bias is not: every row gets the same logits, up to {worst:.2f}."
        )
    expect(
        started[2].weight.abs().max() > 0 or bool((started[0].weight != 0).any()),
        "the first layer is zero too: nothing that depends on the input can ever be learned.",
    )
    expect(
        not bool((started[0].weight == 0).all()),
        "you zeroed the first layer: it is now deaf to its input; zero the last one instead.",
    )
    expect(worst == 0, f"the output at step 0 reaches {worst:.1e}; small is not zero, and the start must be exact.")
    expect(
        gap(started[0].weight.detach(), trunk) == 0,
        "you changed the trunk as well; only the last layer needs to be zero.",
    )
    spread = _spread_after_steps(started, inputs)
    expect(spread > 1e-3, "after two steps of training the output still does not depend on the input.")
    return "starts at exactly 0, and after two steps its output depends on the input."


def _spread_after_steps(layers: nn.Module, inputs: Tensor, steps: int = 2) -> float:
    """Return how much outputs differ between inputs after some steps towards random letters."""
    optimizer, targets = torch.optim.SGD(layers.parameters(), lr=1.0), torch.arange(len(inputs)) % 3
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(layers(inputs), targets).backward()
        optimizer.step()
    return float(layers(inputs).detach().std(0).max())


@exercise(
    "3.4",
    hints=(
        "Adaptation is what can be learned without being told. Conditioning is what being told adds to that.",
        "Both are differences of losses of the same text. Take the difference per text first, then its mean.",
        "stack([lm_nll - plain_nll, plain_nll - told_nll]); mean over texts, and std over texts divided by √N.",
    ),
)
def split_gain(lm_nll: Tensor, plain_nll: Tensor, told_nll: Tensor) -> Tensor:
    """Adaptation and conditioning in nats per text: three ``[N]`` losses to ``[2, 2]`` (part; mean, standard error)."""
    gains = torch.stack([lm_nll - plain_nll, plain_nll - told_nll])
    return torch.stack([gains.mean(-1), gains.std(-1) / gains.shape[-1] ** 0.5], -1)


@split_gain.examiner
def _(answer: Answer) -> str:
    lm = 4 + 2 * torch.randn(50, dtype=torch.float64)
    plain = lm - 0.5 + 0.3 * torch.randn(50, dtype=torch.float64)
    told = plain - 0.2 + 0.3 * torch.randn(50, dtype=torch.float64)
    value = expect_tensor(answer(lm, plain, told), (2, 2), "the split")
    means, errors = value[:, 0], value[:, 1]
    first, second, whole = float((lm - plain).mean()), float((plain - told).mean()), float((lm - told).mean())
    expect(abs(float(means[0]) - first) < 1e-9 or abs(float(means[0]) + first) > 1e-9, _signs(means[0]))
    expect(
        abs(float(means[1]) - whole) > 1e-9, "your conditioning is the whole gain: adaptation is counted in it again."
    )
    expect(abs(float(means[0]) - second) > 1e-9, "the two rows are swapped: adaptation comes first, then conditioning.")
    expect(
        abs(float(means[0]) - first) < 1e-9, f"adaptation is {means[0]:.3f}, expected mean(lm − plain) = {first:.3f}."
    )
    expect(abs(float(means[1]) - second) < 1e-9, f"conditioning is {means[1]:.3f}, expected {second:.3f} nats.")
    _judge_errors(errors, lm, plain, told)
    worse = expect_tensor(answer(lm, plain, plain + 0.1), (2, 2), "the split")
    expect(worse[1, 0] < 0, "an auxiliary that is told a lie has a gain below zero; yours never goes there.")
    return "adds up to the whole gain, with paired standard errors, and goes below zero where it should."


def _signs(mean: Tensor) -> str:
    return f"adaptation is {float(mean):.3f} although the loss fell: a gain is the loss before minus the loss after."


def _judge_errors(errors: Tensor, lm: Tensor, plain: Tensor, told: Tensor) -> None:
    """Reject the common mistakes in a standard error."""
    pairs, root = ((lm, plain), (plain, told)), len(lm) ** 0.5
    exact = torch.stack([(before - after).std() for before, after in pairs]) / root
    unpaired = torch.stack([(before.var() + after.var()).sqrt() for before, after in pairs]) / root
    expect(
        gap(errors, exact * root) > 1e-9,
        "this is the spread of single texts; the mean of N texts is √N times more certain.",
    )
    expect(
        gap(errors, unpaired) > 1e-9,
        f"this is the error of two separate samples, {unpaired[1] / exact[1]:.0f} times too large: "
        "the texts are the same, so subtract text by text before you take the spread.",
    )
    close = gap(errors, exact) < 0.02 * float(exact.max())
    expect(
        close,
        f"the standard errors are {errors[0]:.4f} and {errors[1]:.4f}, expected {exact[0]:.4f} and {exact[1]:.4f}.",
    )
