"""The services, one folder each, all with the same files; `python -m services <name>` runs one."""
