"""What each check of the secure protocol is good for: the attack that succeeds without it, tried with and without."""
