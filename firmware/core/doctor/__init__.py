"""The line doctor: what is known of each port, and the tools an installer holds against it."""
