"""The HTML report and its templates."""
