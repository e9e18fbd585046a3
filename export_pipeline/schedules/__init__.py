"""Schedules: their calendar, their due windows and the operations of people on them."""
