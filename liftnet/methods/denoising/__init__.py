"""Images drawn step by step from noise, or from their sources: diffusions, flows, bridges."""
