"""One module for each rule of the workflow: it reads files, calls the rooms above, and writes files.

Order: prepare -> features -> train_base, train_diffusion -> predict -> score -> tables, figures.
"""
