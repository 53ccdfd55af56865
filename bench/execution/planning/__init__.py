"""From a matrix to the work it means: systems resolved, lines expanded, cells with their keys."""
