"""Sensors: the request queue and maintenance."""
