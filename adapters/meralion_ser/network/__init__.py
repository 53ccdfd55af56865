"""The network of the proposed model: encoder, head, and the layout of released checkpoints."""
