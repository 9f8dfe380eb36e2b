"""End-task aware training: auxiliary objectives, their meta-learned weights, and the multi-task trainer."""
