"""Runs: launchers, attempts, retries, staging and the reconciler."""
