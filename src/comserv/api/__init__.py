"""The same for programs: JSON in, JSON out, OpenAPI."""
