"""Pretrained models of pdt_lightning: each folder is one, as `python -m pdt_lightning.export` writes it."""
