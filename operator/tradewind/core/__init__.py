"""Pure decisions: `decide(cr, seen, now) -> Decision`, one file a kind, and a builder for each child manifest."""
