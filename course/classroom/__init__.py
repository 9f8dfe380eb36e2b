"""Teaching: `archives` and `nbgrader` distribute the course; `submission`, `sandbox`, `autograde`, `grade` and
`feedback` grade what students hand in; `mistakes`, `mistakes_page` and `questions` are for the instructor's guide."""
