"""The population on Ray or in one process, its command line, live view and run folder."""
