"""The only code that speaks to Proxmox VE: JSON in, domain nouns out."""
