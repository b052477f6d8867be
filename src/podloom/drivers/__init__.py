"""Hands: everything that touches the world. Each driver has an api and the bodies real, fake and faulty."""
