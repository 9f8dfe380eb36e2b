"""How well can writing be steered? `story` (who writes in Storyland for several requests at once), `measure` (what is
asked of them), `experiment` (what is trained and run), `report` and `table` (what came out)."""
