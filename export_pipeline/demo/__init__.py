"""Databases of sample applications with reproducible content."""
