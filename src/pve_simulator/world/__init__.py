"""The world that the API speaks of: plain values that change, and are kept over restarts."""
