"""The kernel: what every service is built on. It knows no service.

The life of a command runs through record.py, writer.py, journal/, relay.py and follower.py, in that
order; docs/flow-of-a-command.md walks it file by file.
"""
