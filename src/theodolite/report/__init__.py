"""Reports: diagnose, reproduce, verify, and the explorer."""
