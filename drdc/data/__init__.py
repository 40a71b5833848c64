"""Images in, one manifest and two caches out: readers of datasets, decoding, and the made dataset."""
