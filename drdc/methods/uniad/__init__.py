"""UniAD and the parts that its variants share: the base model's recipe, the fusion, and image networks."""
