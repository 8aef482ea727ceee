"""The command line: one module per noun; speaks REST to a running instance, or acts on the data folder."""
