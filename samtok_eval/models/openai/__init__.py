"""The back end `openai:URL#NAME`: a model behind any OpenAI-compatible server."""
