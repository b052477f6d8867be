"""Door for people: the podloom command."""
