"""The TARTAN experiment: the rate of every arm is chosen once, on development rows of seeds that are not compared.

Then all arms train with equal budgets and are tested once a seed.
"""

from __future__ import annotations

import torch

from auxlib.classification.encoders import load_encoder
from auxlib.data.assets import data_dir
from auxlib.data.tasks import task_hash
from auxlib.tartan.meta_weights import MetaWeights, ObjectiveLoss, accumulate_weighted_grads, development_gradient
from auxlib.tartan.objectives import Classification, Objective, rows_batch
from auxlib.tartan.trainer import MultiTaskModel, TrainingConfig
from experiments.records import RECORDS, Record
from experiments.runner import Experiment, Provenance, TrialRunner, digest, provenance
from experiments.tartan.arms import ARMS, CROWD
from experiments.tartan.plan import (
    CROWD_BATCH,
    META_RATE,
    REAL,
    STORY_CROWD,
    TASKS,
    ArmTrial,
    chosen,
    comparisons,
    searches,
)
from experiments.tartan.real import NEAR, real_setup
from experiments.tartan.report import assemble
from experiments.tartan.setup import END, evaluate_arm
from experiments.tartan.story import story_body, story_setup
from experiments.tartan.table import goal_rows, real_rows, story_rows, weight_rows

VERSION = 1


def made_by() -> Provenance:
    """Return what decides the figures: the version, the grammar, the encoder, and the texts and labels of each task."""
    grammar = digest((data_dir() / "storyland" / "grammar.toml").read_text(encoding="utf-8"))
    texts = {task: task_hash(task) for task in (*TASKS, *(NEAR[task] for task in TASKS))}
    return provenance(VERSION, grammar=grammar, minilm=load_encoder().fingerprint, **texts)


def run_trial(trial: ArmTrial) -> Record:
    """Train and measure one arm and return plain numbers, for JSON."""
    real, crowd = trial.task in TASKS, trial.task == STORY_CROWD
    setup = real_setup(trial.task, trial.seed) if real else story_setup(trial.seed, trial.each)
    arms = REAL if real else CROWD if crowd else ARMS
    batch, every = CROWD_BATCH if crowd else 32, 20 if real else 25
    config = TrainingConfig(trial.passes, batch, trial.rate, eval_steps=every, seed=trial.seed, bf16=real)
    figures = evaluate_arm(setup, arms[trial.arm], config, META_RATE)
    return vars(trial) | (figures if trial.use == "test" else {"dev": figures["dev"]})


def run_experiment(run: TrialRunner) -> list[Record]:
    """Search, then compare; return the records of both."""
    searched = run(searches())
    return [*searched, *run(comparisons(chosen(searched)))]


def behaviour_probe() -> list[float]:
    """Return the first meta-gradient of an untrained body: two losses, and both rules' direction of the weights."""
    torch.manual_seed(0)
    body = story_body(50).eval()
    rows = [{"token_ids": [(i * step) % 49 + 1 for step in range(3, 9)], "label": i % 3} for i in range(24)]
    objectives: list[Objective] = [Classification(END, rows, 64, 3), Classification("other", rows[::2], 64, 3)]
    model = MultiTaskModel(body, objectives)
    parameters, batch = list(body.parameters()), rows_batch(rows)
    dev_gradient = development_gradient(parameters, model.states, rows_batch(rows[::2]), rows_batch(rows[1::2]), 3)

    def loss_of(objective: Objective) -> ObjectiveLoss:
        return ObjectiveLoss(objective.name, lambda: objective.loss(model.states(batch), batch))

    losses = [loss_of(objective) for objective in objectives]
    gradients = accumulate_weighted_grads(parameters, losses, torch.full((2,), 0.5), dev_gradient)
    directions = [MetaWeights(2, rule=rule).direction(gradients)[0].item() for rule in ("cosine", "exact")]
    return [round(number, 4) for number in (*gradients.losses.tolist(), *directions)]


EXPERIMENT = Experiment(
    RECORDS["tartan"],
    run=run_experiment,
    assemble=assemble,
    tables=(goal_rows, story_rows, weight_rows, real_rows),
    work=run_trial,
    made_by=made_by,
    behaviour_probe=behaviour_probe,
    tolerance=5e-4,  # the probe is in float32 throughout, and its directions are a few thousandths
)
