"""Codecs: Arrow rows <-> tensors, a file per modality."""
