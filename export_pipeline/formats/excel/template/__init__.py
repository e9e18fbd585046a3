"""Workbooks of a company's own, into whose table the rows of an export are spliced."""
