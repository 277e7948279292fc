"""Things to say to the model."""

SENTENCES = (
    "Tell me about the sea and the harbour.",
    "What is a good way to count the boats?",
    "Once there was a lighthouse that",
)
