"""The base of all packages: files, arrays, devices, errors, logs."""
