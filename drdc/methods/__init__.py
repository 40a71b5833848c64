"""Methods beside DRDC: controls that check the evaluation itself, and one file for each compared method."""
