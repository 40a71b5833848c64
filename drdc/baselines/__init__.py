"""Systems beside DRDC; so far the control methods that check the evaluation itself."""
