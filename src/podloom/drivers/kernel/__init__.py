"""The kernel: netlink, network namespaces, sysctl, nftables."""
