"""The panel's parts: what each shows, and what the user can do with it."""
