"""One file a verb: argument parsing and printing, nothing else."""
