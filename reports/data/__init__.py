"""What a run and its records hold, put together for pages: nothing is drawn here."""
