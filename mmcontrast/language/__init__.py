"""English captions as words: parts of speech, and changes of words that change what is said."""
