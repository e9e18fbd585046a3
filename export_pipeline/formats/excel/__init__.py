"""Excel: a workbook with typed cells, written straight from Arrow batches."""
