"""From scores and masks to metrics, thresholds and controls."""
