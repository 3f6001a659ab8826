//! Takes messages from the outbox to the backend and settles them.
