"""One run on one machine: locks, threads, progress, failures, what is noted of it."""
