"""How is the course taught? `bundle` hands it out, `submission` reads what comes back, `examine` looks at one answer
behind `fence`, `grade` puts all of it together."""
