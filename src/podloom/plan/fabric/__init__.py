"""The cloud's networks as rows: virtual networks, interfaces, public addresses, overlay routing domains.

Pure: resources in, rows and findings out. `names` says what things are called in the kernel (others may use
it to find a VM's or a router's namespace), `view` reads ARM documents, the other modules spell one part of
the picture each, `plan` puts them together.
"""
