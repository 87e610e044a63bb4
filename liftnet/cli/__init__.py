"""Console commands: thin shells over the functions of liftnet.pipeline. No torch at import."""
