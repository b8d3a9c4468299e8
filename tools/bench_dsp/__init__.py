"""The benchmark of the signal blocks: `make bench-dsp` measures ours and the peers on the same signals in the same run."""
