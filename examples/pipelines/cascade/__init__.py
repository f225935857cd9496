"""A cascade: a small classifier answers where it is sure, a big forest answers the rest."""
