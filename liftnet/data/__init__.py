"""Preprocessed cases on disk, the batches drawn from them, and phantoms to test on."""
