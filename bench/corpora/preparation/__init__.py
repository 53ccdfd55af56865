"""From the owner's download to a prepared corpus: what a card's ``layout:`` says, done to real files."""
