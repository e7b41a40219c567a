"""A language model as planner: it sees numbers, chooses among the legal branches, and may fail without harm."""
