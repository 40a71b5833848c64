"""Parts of S-T: its networks, and the patches that its teachers see."""
