"""Built-in evaluators: a folder per kind of question, a file per family of measures."""
