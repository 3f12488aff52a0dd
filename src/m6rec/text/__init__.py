"""Text: everything known about an item or a person becomes words, then token ids, then packed rows; and beside the
language model the bag of words and fields of every item, with the similarity of items by it. Templates are data."""
