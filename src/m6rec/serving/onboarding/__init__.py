"""Getting to know somebody nobody knows: what to ask, a first list, better lists by likes and dislikes."""
