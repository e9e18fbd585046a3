"""Webhooks as in the Standard Webhooks specification: registered receivers, and deliveries of events."""
