"""The command line: a thin shell over public functions. Everything heavy is imported inside a command."""
