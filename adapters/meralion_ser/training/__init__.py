"""How the proposed model is trained: recipe, targets, losses, batches, the loop."""
