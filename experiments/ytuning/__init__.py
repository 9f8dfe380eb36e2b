"""Is it worth letting the labels learn? `systems` (who takes part), `desk` (what each finds, and costs), `uses` (few
labels, unseen ones), `experiment` (how it is run), `report` and `table` (what came out)."""
