"""One file per dataset: what it is, where it comes from and how its images are listed.

The file's name is the dataset's in the configuration, and its `READER` a `drdc.data.reader.Reader`.
"""
