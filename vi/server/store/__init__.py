"""What the service knows, as functions of a connection: each module holds the statements of one subject."""
