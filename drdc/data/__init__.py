"""From image files to the manifest: readers of datasets, checks, decoding, downloads, synthetic images."""
