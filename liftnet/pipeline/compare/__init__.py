"""Which of several methods is better, and how sure that is."""
