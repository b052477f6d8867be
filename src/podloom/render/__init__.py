"""Spelling, pure, both ways: netlink bytes, nft text, CNI JSON, ARM JSON, printed tables."""
