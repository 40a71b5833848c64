"""DRDC and the methods that it is compared with, one file or folder each, and what they share."""
