"""What outlives a request: the engine, who owns which server, and one module per long story."""
