"""Pages for people: form in, HTML out; one module per noun."""
