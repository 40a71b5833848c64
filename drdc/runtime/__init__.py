"""What every room stands on: files, arrays, devices, errors, logs."""
