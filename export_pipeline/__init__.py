"""Exports of an application's database as files, run by Dagster."""
