"""Floor 2: networks. Each is built from a frozen spec of the plan."""
