"""Schedules: calendar, due windows and editing."""
