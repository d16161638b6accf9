"""The command line: one module a command, text in and out."""
