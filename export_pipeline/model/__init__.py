"""What an export is: columns, tables, layouts, windows. Pure: no database, no file, no Dagster."""
