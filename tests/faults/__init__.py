"""Commands that are ended while they write, and given again."""
