"""The command line: `app` registers the commands, other modules hold commands or shared helpers."""
