"""The compared systems of Storyland behind one interface: models with a keyword prefix, and frozen-expert systems."""
