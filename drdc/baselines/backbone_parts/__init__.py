"""What systems with a backbone of their own share."""
