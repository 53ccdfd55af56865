"""What an Audio-LLM is asked, and how: prompts, questions, the client, stored replies."""
