"""The log on JetStream: written under fences, cut from the front, and what is projected from it."""
