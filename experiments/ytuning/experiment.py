"""The Y-Tuning experiment: per task a search by development texts, then seeds that are tested once.

Beside it: training on few texts of every label, labels that were not trained on, and label decoders that start from the
labels' names, right and wrong ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import torch

from auxlib.classification.encoders import cache_states, load_encoder
from auxlib.classification.trainer import states_batch
from auxlib.classification.ytuning import LabelConfig, LabelDecoder, margin_loss
from auxlib.collator import FeatureRows
from auxlib.data.tasks import label_names, load_task, task_hash
from experiments.records import RECORDS, Record
from experiments.runner import Experiment, Provenance, TrialRunner, provenance
from experiments.ytuning.few_shot import few_per_label, unseen_labels
from experiments.ytuning.plan import (
    EACH,
    FEW_SHOT_SYSTEMS,
    FEW_SHOT_TASK,
    NOISE_TEXTS,
    NOISES,
    SEARCH_SEED,
    SEARCH_TEXTS,
    SEEDS,
    TASKS,
    TRAIN_TEXTS,
    ClassifierTrial,
)
from experiments.ytuning.report import assemble
from experiments.ytuning.setup import TrainingSetup
from experiments.ytuning.systems import BY_NAME, MIDDLE, SYSTEMS
from experiments.ytuning.table import goal_rows, task_rows, use_rows

VERSION = 1
LONGEST_FIRST = sorted(SYSTEMS, key=lambda name: SYSTEMS[name].cached)  # trainable encoders take longest


def made_by(tasks: Iterable[str] = TASKS) -> Provenance:
    """Return what decides the figures: the version, the encoder, and the texts and labels of each task."""
    return provenance(VERSION, minilm=load_encoder().fingerprint, **{task: task_hash(task) for task in tasks})


def run_trial(trial: ClassifierTrial) -> Record:
    """Train and measure one classifier and return plain numbers, for JSON."""
    system = (SYSTEMS | BY_NAME)[trial.system]
    setting, seed = system.settings[trial.setting], trial.seed
    texts = load_task(trial.task, limit=SEARCH_TEXTS if trial.use == "search" else TRAIN_TEXTS)
    if trial.use == "unseen":
        return vars(trial) | unseen_labels(system, setting, texts, seed)
    if trial.use == "few":
        texts = few_per_label(texts, trial.each, seed)
    setup = TrainingSetup(system, setting, texts, seed)
    costs = setup.cost() if trial.use == "all" else {}
    fitted = setup.learn()
    figures: Record = {"dev": max(fitted.dev), "best_epoch": fitted.best_epoch, "epochs": len(fitted.dev)}
    figures |= {"learned_from": len(setup.train), "epoch_seconds": fitted.seconds / len(fitted.dev)}
    if trial.use != "search":
        figures |= setup.evaluate()
    if trial.use == "all":
        labels = texts["test"]["label"]
        figures |= {"labels": len(label_names(texts["test"])), "chance": max(Counter(labels).values()) / len(labels)}
        figures |= {"noisy": setup.accuracy_under_noise(NOISES, NOISE_TEXTS)}
    return vars(trial) | costs | figures


def run_experiment(run: TrialRunner, tasks: Sequence[str] = TASKS, seeds: Sequence[int] = SEEDS) -> list[Record]:
    """Search, then compare on every task and on the few-shot task; return the records of all."""
    searched = run(searches(tasks))
    return [*searched, *run(comparisons(chosen(searched), tasks, seeds))]


def searches(tasks: Sequence[str] = TASKS) -> list[ClassifierTrial]:
    """Return every setting of every system on every task; the decoders by name only on the few-shot task."""
    systems = {name: (SYSTEMS | BY_NAME)[name] for name in (*LONGEST_FIRST, *BY_NAME)}
    return [
        ClassifierTrial("search", task, name, SEARCH_SEED, i)
        for name, system in systems.items()
        for task in tasks
        if name in SYSTEMS or task == FEW_SHOT_TASK
        for i in range(len(system.settings))
    ]


def comparisons(
    settings: dict[tuple[str, str], int], tasks: Sequence[str] = TASKS, seeds: Sequence[int] = SEEDS
) -> list[ClassifierTrial]:
    """Return the trials that are tested, with the settings that the search has chosen."""
    by_name = tuple(BY_NAME) if FEW_SHOT_TASK in tasks else ()
    compared = [
        ClassifierTrial("all", task, name, seed, settings[task, name])
        for name in LONGEST_FIRST
        for task in tasks
        for seed in seeds
        if (task, name) in settings
    ]
    few = [
        ClassifierTrial("few", FEW_SHOT_TASK, name, seed, settings[FEW_SHOT_TASK, name], each)
        for name in (*FEW_SHOT_SYSTEMS, *by_name)
        for each in EACH
        for seed in seeds
        if (FEW_SHOT_TASK, name) in settings
    ]
    unseen = [
        ClassifierTrial("unseen", FEW_SHOT_TASK, name, seed, settings[FEW_SHOT_TASK, name])
        for name in by_name
        for seed in seeds
    ]
    return [*compared, *few, *unseen]


def chosen(records: Iterable[Record]) -> dict[tuple[str, str], int]:
    """Return the setting of each task and system with the highest development accuracy; the first of equals."""
    best: dict[tuple[str, str], Record] = {}
    for record in records:
        key = record["task"], record["system"]
        if "error" not in record and (key not in best or record["dev"] > best[key]["dev"]):
            best[key] = record
    return {key: record["setting"] for key, record in best.items()}


def behaviour_probe() -> list[float]:
    """Return loss and gradient norm of an untrained label decoder on a few texts, in float32 on the CPU."""
    encoder, texts = load_encoder(layers=MIDDLE, dtype=torch.float32, device="cpu"), load_task("vader-amazon", limit=64)
    rows = FeatureRows(cache_states(encoder, texts["train"], progress=False), plain="label")
    batch = states_batch([rows[i] for i in range(len(rows))])
    torch.manual_seed(0)
    decoder = LabelDecoder(LabelConfig(), encoder.width, 2).eval()
    loss = margin_loss(decoder(batch["hidden"], batch["mask"]), batch["labels"])
    loss.backward()
    gradients = [weight.grad for weight in decoder.parameters() if weight.grad is not None]
    norm = sum(float(gradient.square().sum()) for gradient in gradients) ** 0.5
    return [round(loss.item(), 4), round(norm, 4)]


EXPERIMENT = Experiment(
    RECORDS["ytuning"],
    run=run_experiment,
    assemble=assemble,
    tables=(task_rows, goal_rows, use_rows),
    work=run_trial,
    made_by=made_by,
    behaviour_probe=behaviour_probe,
)
