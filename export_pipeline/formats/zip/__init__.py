"""ZIP: several formats of a dataset, or several datasets of a bundle, in one file of one snapshot."""
