"""What a person may ask for: one function = one intention = one permission check = one transaction."""
