"""Floor between tasks and what they are made of: the planning rules that tasks share."""
