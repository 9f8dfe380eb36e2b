"""Who else could write around a keyword, with a real model? `prompt` (how one is told in words), `judge` (who judges),
`bench` (what all find on the table), `tune` and `ours` (who takes part), `experiment` (how it is run), `report` and
`table` (what came out)."""
