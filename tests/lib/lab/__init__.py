"""What the stories are played with: a real upstream, a proxy that makes faults, weir, git, and a raw HTTP client."""
