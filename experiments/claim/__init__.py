"""Is it true? The paper's claim as an experiment: the `rule` that decides it, the `plan` of what is compared, one
`trial` of one system, and the `report` of them all."""
