"""The HTTP service: request exports, follow them and download their files. It does not use Dagster."""
