"""The arms of the comparison in Storyland: ways to use objectives beside the end task."""

from __future__ import annotations

from experiments.tartan.setup import Arm
from experiments.tartan.story import HARMFUL, NEUTRAL, USEFUL

ALL = (USEFUL, NEUTRAL, HARMFUL)
ARMS = {
    "tune": Arm("fine-tuning alone"),
    "before": Arm("the other objective first (TAPT)", (USEFUL,), first=True),
    "mt": Arm("MT-TARTAN", (USEFUL,)),
    "meta": Arm("META-TARTAN", (USEFUL,), rule="cosine"),
    "exact": Arm("META-TARTAN, exact rule", (USEFUL,), rule="exact"),
}
CROWD = {
    "mt": Arm("MT-TARTAN", ALL),
    "meta-two": Arm("META-TARTAN, without the harmful one", (USEFUL, NEUTRAL), rule="cosine"),
    "meta": Arm("META-TARTAN", ALL, rule="cosine"),
    "exact": Arm("META-TARTAN, exact rule", ALL, rule="exact"),
}
