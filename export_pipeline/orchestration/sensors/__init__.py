"""Sensors: the request queue, schedules, mails and webhooks, intake, removal of files and of old runs."""
