"""Images of new cases, and volumes from nothing."""
