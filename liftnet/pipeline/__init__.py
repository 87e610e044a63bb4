"""Floor 4: the steps, the same for every task."""
