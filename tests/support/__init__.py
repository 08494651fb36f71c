"""What tests share: vectors, repeatable entropy, requirement IDs, and the project's own modules as syntax trees."""
