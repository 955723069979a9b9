"""What the rule modules beside this package share: reading a template through its intrinsics, and the base of every rule."""
