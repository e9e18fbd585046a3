"""PDF: a document to read, print and search, in any script, of any length."""
