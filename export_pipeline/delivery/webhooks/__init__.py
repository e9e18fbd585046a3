"""Webhooks after the Standard Webhooks specification: who hears of an export's end, and the deliveries."""
