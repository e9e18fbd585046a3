"""Requests that applications send to a queue (SQS)."""
