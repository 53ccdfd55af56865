"""Pictures as SVG: geometry, axes, forest plots, critical differences."""
