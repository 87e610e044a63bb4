"""Floor 1: pure functions on arrays; no state, no files."""
