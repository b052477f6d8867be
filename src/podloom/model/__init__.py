"""Nouns: frozen, validated values shared by every room. Imports nothing of ours."""
