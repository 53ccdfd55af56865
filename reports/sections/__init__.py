"""The parts that pages are made of: each reads records and gives what a template fills in."""
