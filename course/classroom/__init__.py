"""How is the course taught? `bundle` and `nbgrader` hand it out. `submission` reads what comes back, `examine` looks at
one answer behind a `fence`, `grade` adds up, `feedback` tells. For whoever teaches, `planted`, `questions`, `mistakes`
say what to expect; `site` makes web pages of everything."""
