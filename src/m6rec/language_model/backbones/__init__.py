"""Pretrained checkpoints of the Hugging Face format as language model: read from disk (never unpickled), their layers rebuilt here."""
