"""LiFT-U: a frozen slice generator, lifted to volumes by a depth mapper."""
