"""Several methods on one dataset at an equal budget: trained, predicted, scored, compared."""
