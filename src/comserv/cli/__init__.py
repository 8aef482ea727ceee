"""The command line, one module per noun. What needs time to import is imported inside the commands: `--help` stays fast."""
