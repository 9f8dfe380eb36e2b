"""The comparison with SmolLM2: a search by development sentences, then all systems on held-out words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from auxlib.checkpoint import WEIGHTS
from auxlib.data.assets import data_dir
from auxlib.data.corpora import load_corpus, text_hash
from auxlib.frozen import load_expert
from auxlib.recipes import SHIPPED
from experiments.benchmarking import hardware_info, package_versions
from experiments.metrics import wilson
from experiments.records import RECORDS, Record, Setting
from experiments.runner import Experiment, Provenance, SystemTrial, TrialRunner, digest, provenance
from experiments.smollm.auxiliary_system import AuxiliarySystem
from experiments.smollm.setup import WritingSetup, WritingSize
from experiments.smollm.systems import SYSTEMS, run_trial
from experiments.smollm.table import system_rows

VERSION = 1
WHOLE, SEEDS, SEARCH_SEED = WritingSize(), (0, 1), 100
SEARCHED = WritingSize(train=250, questions=0)
LONGEST_FIRST = sorted(SYSTEMS, key=lambda name: not SYSTEMS[name].settings)  # systems that learn take longest
MEAN = (
    *("slor", "nll", "forgotten", "distinct_2", "tokens", "flops", "memory_bytes", "train_seconds"),
    "flops_per_written_token",
)
SAME = ("learning", "task_bytes", "setting")


def made_by() -> Provenance:
    """Return what decides the figures: the version, the frozen model, the shipped auxiliary and the sentences."""
    return provenance(
        VERSION, smollm2=load_expert().fingerprint, corpus=corpus_hash(), **{SHIPPED: weights_hash(SHIPPED)}
    )


def corpus_hash() -> str:
    """Return the digest of all sentences of the corpus."""
    return digest(*(text_hash(part["text"]) for part in load_corpus().values()))


def weights_hash(name: str) -> str:
    """Return the digest of the weights of a shipped auxiliary."""
    return digest((data_dir() / "checkpoints" / name / WEIGHTS).read_bytes())


def run_experiment(run: TrialRunner) -> list[Record]:
    """Search, then compare; return the comparisons, and the search's failures of systems that it left without setting.

    Such a system is not compared: untrained it would stand in the table as if it had learned.
    """
    searched = run(
        SystemTrial(name, SEARCH_SEED, SEARCHED, setting) for name, s in SYSTEMS.items() for setting in s.settings
    )
    settings = chosen(searched)
    lost = {name for name, spec in SYSTEMS.items() if spec.settings and name not in settings}
    compared = [name for name in LONGEST_FIRST if name not in lost]
    records = run(SystemTrial(name, seed, WHOLE, settings.get(name, {})) for name in compared for seed in SEEDS)
    return records + [record for record in searched if "error" in record and record["system"] in lost]


def chosen(records: Iterable[Record]) -> dict[str, Setting]:
    """Return the setting of each system with the fewest nats on development sentences."""
    best: dict[str, Record] = {}
    for record in records:
        name = record["system"]
        if "error" not in record and (name not in best or record["dev_nll"] < best[name]["dev_nll"]):
            best[name] = record
    return {name: record["setting"] for name, record in best.items()}


def assemble(records: Sequence[Record]) -> Record:
    """Return the results: for every system its pooled test figures, or its error."""
    done = [record for record in records if "error" not in record]
    return {
        "systems": {name: _of_system(name, [r for r in records if r["system"] == name]) for name in SYSTEMS},
        "slor_human": round(sum(r["slor_human"] for r in done) / max(1, len(done)), 4),
        "failed": {f"{r['system']}, seed {r['seed']}": r["error"] for r in records if "error" in r},
        "settings": {r["system"]: r["setting"] for r in done if r["setting"]},
        "sentences": done[0]["sentences"] if done else 0,
        "seeds": len(SEEDS),
        "machine": hardware_info(),
        "versions": package_versions(),
    }


def _of_system(name: str, records: Sequence[Record]) -> Record:
    done = [record for record in records if "error" not in record]
    head: Record = {"label": SYSTEMS[name].label, "failed_seeds": [r["seed"] for r in records if "error" in r]}
    if not done:
        return head | {"error": records[0]["error"] if records else "was not run"}
    hits, n = (sum(record[key] for record in done) for key in ("hits", "n"))
    rule = {"rule_by_counter": done[0]["flops_by_rule"] / done[0]["flops"]} if "flops_by_rule" in done[0] else {}
    return {
        **head,
        "accuracy_interval": [round(value, 4) for value in (hits / n, *wilson(hits, n))],
        **{key: round(sum(r[key] for r in done) / len(done), 4) for key in MEAN if done[0].get(key) is not None},
        **{key: done[0][key] for key in SAME if key in done[0]},
        **{key: round(value, 4) for key, value in rule.items()},
        **{key: sum(record[key] for record in done) for key in ("recited", "empty")},
        "by_seed": {str(r["seed"]): [round(r["hits"] / r["n"], 3), r["slor"]] for r in done},
        "n": n,
        "examples": done[0]["written"][:8],
    }


def behaviour_probe() -> list[float]:
    """Return nats a token on development sentences: of the shipped auxiliary, and of one trained on few sentences."""
    setup = WritingSetup(WritingSize(train=96, dev=48), SEARCH_SEED)
    system = AuxiliarySystem(setup)
    shipped = system.nll(setup.corpus["dev"])
    system.learn({"rate": 4e-3, "epochs": 4})
    return [round(shipped, 4), round(system.nll(setup.corpus["dev"]), 4)]


EXPERIMENT = Experiment(
    RECORDS["smollm"],
    run=run_experiment,
    assemble=assemble,
    tables=(system_rows,),
    work=run_trial,
    made_by=made_by,
    behaviour_probe=behaviour_probe,
)
