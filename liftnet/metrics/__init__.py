"""Floor 2: numbers that are reported; arrays in, Python floats out."""
