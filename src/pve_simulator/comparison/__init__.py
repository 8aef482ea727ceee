"""Compares a server that somebody really has with what was recorded: reads only, shapes and messages only, no value kept."""
