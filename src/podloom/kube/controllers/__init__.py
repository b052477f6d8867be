"""The controllers and the scheduler: clients of the API server like any other."""
