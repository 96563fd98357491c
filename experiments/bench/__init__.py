"""`python -m experiments.bench`: what a gradient step takes, beside PyTorch's, and beside what the device could do."""
