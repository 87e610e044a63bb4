"""Augmentation of whole slabs on the device: a batch at once, source and target together."""
