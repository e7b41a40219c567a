"""The workflows and the ``automat`` command."""
