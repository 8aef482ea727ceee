"""The JSON that the API answers with, one module per noun: msgspec Structs, from which replies and their schemas are made.

A shape is built by its `of(…)` from what a service gave. Absent is `null`; times are ISO 8601 in UTC; names are those of
the domain. What stands here only grows: other programs read it.
"""
