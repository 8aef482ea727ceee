"""What containers are made of: mount points, settings, power, snapshots, clones, backups. Texts as in pve-container."""
