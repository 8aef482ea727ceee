"""What QEMU guests are made of and how they behave: disks, configuration, power, clones, snapshots, the guest itself."""
