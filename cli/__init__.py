"""The command line: parse, call, print. No logic, and no torch until a command needs it."""
