"""One module for each rule of the workflow: it reads files, calls the other packages, and writes files.

Order: download, weights -> prepare -> images, features -> train -> predict -> score -> collect, costs ->
tables, figures, gallery -> about; export.
"""
