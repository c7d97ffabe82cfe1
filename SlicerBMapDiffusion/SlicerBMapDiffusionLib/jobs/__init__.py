"""What a child process is asked to do, how it is watched, and what it says."""
