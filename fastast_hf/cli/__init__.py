"""The `fastast` command: one module for each sub-command."""
