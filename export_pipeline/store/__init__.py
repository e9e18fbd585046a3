"""Where export files live: a folder or S3, behind one small interface."""
