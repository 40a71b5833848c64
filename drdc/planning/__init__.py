"""What an experiment would take, before anything runs: hours, disk and memory, measured here or counted."""
