"""The Python packages that drawing needs: what is missing, and putting it there."""
