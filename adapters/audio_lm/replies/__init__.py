"""What a reply says: from text or probabilities to one of the labels, or why to none."""
