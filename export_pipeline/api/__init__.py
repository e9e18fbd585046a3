"""The HTTP service: ask for exports, follow them and download their files. It knows nothing of Dagster."""
