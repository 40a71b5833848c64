"""What UniAD's variants share: the base model's recipe, the fusion, and networks that reconstruct images."""
