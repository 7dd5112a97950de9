"""Built-in generators: a folder per modality, a file per family, so that the tree is the matrix of what works."""
