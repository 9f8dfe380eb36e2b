"""Is it worth learning other things together with the end task? `objectives` (what may be asked of a body), `together`
(one training), `lab` (who takes part), `story` (a task whose truth is known) and `real` (tasks of the world outside),
`experiment` (how it is run), `report` and `table` (what came out)."""
