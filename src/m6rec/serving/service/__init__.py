"""One request from end to end over a model, a store and rules; loaded models and how one takes over from another. No HTTP."""
